"""Parameter groups: LoRA+ against PEFT's, decay, no empty group."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from tiny_models import build_model
from verification import lora_plus

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


@pytest.mark.parametrize("dora", [False, True])
def test_lora_plus_equals_pefts_groups_but_for_doras_magnitude(dora: bool) -> None:
    assert lora_plus.compare_groups(dora=dora) == 0.0


def test_doras_magnitude_moves_at_the_plain_rate_and_peft_throws_it_in_with_b() -> None:
    found = settings_by_name(build(attach(dora=True), RATIO))
    assert {found[name] for name in found if name.endswith("magnitude")} == {(RATE, 0.0)}
    config = LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS, use_dora=True)
    model = get_peft_model(build_model("qwen2"), config)
    theirs = create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=RATE, loraplus_lr_ratio=RATIO, loraplus_weight_decay=DECAY
    )
    magnitudes = {id(p) for name, p in model.named_parameters() if "magnitude" in name}
    groups = [g for g in theirs.param_groups if magnitudes & set(map(id, g["params"]))]
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(RATE * RATIO, DECAY)]


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


def test_full_fine_tuning_decays_matrices_and_spares_biases_and_norms() -> None:
    adapter = attach_full(build_model("qwen2"))
    found = settings_by_name(build(adapter, None))
    for name, (rate, decay) in found.items():
        assert rate == RATE
        assert decay == (0.0 if "norm" in name or "bias" in name else DECAY), name
