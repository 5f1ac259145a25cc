"""The output head as a LoRA target, with and without tied embeddings, against PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_models import build_model, name_head, relative_error
from torch import Tensor
from torch.nn import functional

from luthier.adapters.attach_lora import LoraTargets, attach_lora, find_layers, merge_lora
from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.load_adapter import load_adapter
from luthier.adapters.lora import LoraSettings
from luthier.data.batches import PackedBatch
from luthier.models.load import load_base_model
from luthier.models.packed import PackedModel
from luthier.objectives.cross_entropy import sum_linear_cross_entropy

FAMILIES = ["gpt2", "gpt_neox", "gemma", "qwen2"]
IDS = torch.arange(3, 15).reshape(2, 6)


def build(family: str, tied: bool, dtype: torch.dtype = torch.float64) -> Any:
    return build_model(family, dtype=dtype, tie_word_embeddings=tied)


def attach(model: Any, *, magnitude: bool = False) -> AttachedAdapter:
    torch.manual_seed(1)
    adapter = attach_lora(
        model,
        LoraSettings(4, 8, magnitude=magnitude),
        LoraTargets([name_head(model)], True),
        base_model="tiny",
        dtype=model.dtype,
    )
    with torch.no_grad():
        for name, parameter in adapter.parameters.items():
            noise = 0.2 * torch.randn_like(parameter)
            parameter.add_(noise * parameter if name.endswith("magnitude") else noise)
    adapter.refresh()
    return adapter


def peft_config(family: str, magnitude: bool) -> LoraConfig:
    return LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=[*dict.fromkeys(short_names(family))],
        fan_in_fan_out=family == "gpt2",
        use_dora=magnitude,
        task_type="CAUSAL_LM",
    )


def short_names(family: str) -> list[str]:
    model = build(family, False)
    attach(model)
    return [name.rpartition(".")[2] for name in find_layers(model)]


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_all_gradients_equal_peft_in_float64(
    family: str, tied: bool, magnitude: bool
) -> None:
    ours = build(family, tied)
    adapter = attach(ours, magnitude=magnitude)
    theirs = get_peft_model(build(family, tied), peft_config(family, magnitude)).double()
    parameters = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in adapter.parameters.items():
            parameters[peft_name(name)].copy_(parameter)
    losses = [model.train()(IDS, labels=IDS).loss for model in (ours, theirs)]
    for loss in losses:
        loss.backward()
    assert relative_error(losses[0], losses[1]) < 1e-10
    for name, parameter in adapter.parameters.items():
        expected = parameters[peft_name(name)].grad
        assert parameter.grad is not None
        assert expected is not None
        assert relative_error(parameter.grad, expected) < 1e-9, name


def peft_name(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    ending = "lora_magnitude_vector.default" if kind == "magnitude" else f"{kind}.default"
    return f"base_model.model.{layer}.{ending}.weight"


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_side_reads_what_the_other_writes(family: str, tied: bool, tmp_path: Path) -> None:
    ours = build(family, tied, torch.float32)
    attach(ours).save(tmp_path / "ours")
    theirs = PeftModel.from_pretrained(build(family, tied, torch.float32), str(tmp_path / "ours"))
    assert relative_error(logits(theirs), logits(ours)) < 1e-5
    theirs.save_pretrained(str(tmp_path / "theirs"))
    again = build(family, tied, torch.float32)
    load_adapter(again, tmp_path / "theirs", base_model="tiny")
    assert relative_error(logits(again), logits(ours)) < 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_tied_head_the_embedding_stays(family: str) -> None:
    model = build(family, True)
    before = model.get_input_embeddings().weight.clone()
    attach(model)
    merge_lora(model)
    assert torch.equal(model.get_input_embeddings().weight, before)
    assert not torch.equal(model.get_output_embeddings().weight, before)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_merged_model_saves_and_loads_with_its_own_head(
    family: str, tied: bool, tmp_path: Path
) -> None:
    model = build(family, tied, torch.float32)
    attach(model)
    expected = logits(model)
    merge_lora(model)
    assert relative_error(logits(model), expected) < 1e-5
    model.save_pretrained(tmp_path)
    loaded = load_base_model(str(tmp_path), dtype=torch.float32)
    assert torch.equal(logits(loaded), logits(model))


def test_a_merge_that_leaves_the_head_alone_leaves_it_tied() -> None:
    model = build("qwen2", True)
    attach_lora(model, LoraSettings(2, 2), LoraTargets(None, True), base_model="")
    merge_lora(model)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.config.tie_word_embeddings


@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_packed_loss_sees_the_adapter_on_the_head(family: str, magnitude: bool) -> None:
    model = build(family, True)
    packed = PackedModel(model)
    adapter = attach(model, magnitude=magnitude)
    assert packed.head_is_plain
    assert PackedModel(model).head_is_plain
    ids, everywhere = IDS[:1], torch.arange(6)
    batch = PackedBatch(ids, everywhere[None], everywhere[:-1], ids[0, 1:], (6,))
    found = sum_linear_cross_entropy(packed.head, packed.hidden_states(batch), batch.targets)
    expected = functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="sum")
    assert relative_error(found, expected) < 1e-9
    wanted = list(adapter.parameters.values())
    for mine, plain in zip(
        torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), strict=True
    ):
        assert relative_error(mine, plain) < 1e-8
