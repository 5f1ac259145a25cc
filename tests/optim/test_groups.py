"""Parameter groups: LoRA+ against PEFT's, decay, no empty group."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from tiny_models import build_model
from torch import nn

from luthier.adapters.attach_lora import LoraTargets, attach_lora
from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.full import attach_full
from luthier.adapters.lora import LoraSettings
from luthier.optim.groups import GroupSettings, build_groups

RATE, DECAY, RATIO = 0.01, 0.1, 16.0
TARGETS = ["q_proj", "down_proj"]


def attach(*, dora: bool) -> AttachedAdapter:
    return attach_lora(
        build_model("qwen2"),
        LoraSettings(2, 4, magnitude=dora),
        LoraTargets(TARGETS, False),
        base_model="",
    )


def settings_by_name(groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """name → (learning rate, weight decay)."""
    return {
        name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]
    }


def build(adapter: AttachedAdapter, ratio: float | None) -> list[dict[str, Any]]:
    return build_groups(adapter.parameters, adapter.roles, GroupSettings(RATE, DECAY, ratio))


def peft_settings(*, dora: bool) -> dict[str, tuple[float, float]]:
    """What PEFT's LoRA+ gives each parameter, by our names."""
    config = LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS, use_dora=dora)
    model = get_peft_model(build_model("qwen2"), config)
    optimizer = create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=RATE, loraplus_lr_ratio=RATIO, loraplus_weight_decay=DECAY
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, tuple[float, float]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)].removeprefix("base_model.model.").removesuffix(".weight")
            name = name.removesuffix(".default").replace("lora_magnitude_vector", "magnitude")
            found[name] = (group["lr"], group["weight_decay"])
    return found


def test_lora_plus_equals_pefts_groups() -> None:
    assert settings_by_name(build(attach(dora=False), RATIO)) == peft_settings(dora=False)


def test_doras_magnitude_moves_at_the_plain_rate_and_peft_throws_it_in_with_b() -> None:
    ours, theirs = settings_by_name(build(attach(dora=True), RATIO)), peft_settings(dora=True)
    differing = {name for name in ours if ours[name] != theirs[name]}
    assert differing == {name for name in ours if name.endswith("magnitude")}
    for name in differing:
        assert ours[name] == (RATE, 0.0)
        assert theirs[name][0] == RATE * RATIO


def test_lora_plus_keeps_the_weight_decay_of_both_matrices() -> None:
    found = settings_by_name(build(attach(dora=True), RATIO))
    assert {found[name][1] for name in found if not name.endswith("magnitude")} == {DECAY}


@pytest.mark.parametrize("ratio", [None, 1.0, RATIO])
@pytest.mark.parametrize("dora", [False, True])
def test_no_group_is_empty_and_no_parameter_is_lost(ratio: float | None, dora: bool) -> None:
    adapter = attach(dora=dora)
    groups = build(adapter, ratio)
    assert all(group["params"] for group in groups)
    listed = [name for group in groups for name in group["names"]]
    assert sorted(listed) == sorted(adapter.parameters)


def test_without_lora_plus_all_matrices_move_alike() -> None:
    assert {rate for rate, _ in settings_by_name(build(attach(dora=True), None)).values()} == {RATE}


def test_an_adapter_on_embeddings_has_its_own_rate_under_lora_plus() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    groups = build_groups(
        {"e": weight}, {"e": "lora_embedding"}, GroupSettings(RATE, DECAY, RATIO, 1e-6)
    )
    assert settings_by_name(groups) == {"e": (1e-6, DECAY)}


def test_full_fine_tuning_decays_matrices_and_spares_biases_and_norms() -> None:
    adapter = attach_full(build_model("qwen2"), torch.float32)
    found = settings_by_name(build(adapter, None))
    for name, (rate, decay) in found.items():
        assert rate == RATE
        assert decay == (0.0 if "norm" in name or "bias" in name else DECAY), name
