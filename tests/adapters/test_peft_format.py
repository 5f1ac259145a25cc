"""Whole models against PEFT: equal in float64, and files that both sides read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from tiny_models import build_model, relative_error
from verification.peft_models import (
    IDS,
    METHODS,
    TARGETS,
    attach,
    logits,
    peft_config,
    peft_name,
    peft_twin,
    shift,
)

from luthier.adapters.attach_lora import LoraTargets, attach_lora, find_layers, merge_lora
from luthier.adapters.load_adapter import load_adapter
from luthier.adapters.lora import LoraSettings
from luthier.errors import ModelError


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", TARGETS)
def test_loss_and_all_gradients_of_a_model_equal_peft_in_float64(family: str, method: str) -> None:
    ours = build_model(family)
    adapter = attach(ours, family, method)
    theirs = peft_twin(adapter, family, method)
    losses = [model.train()(IDS, labels=IDS).loss for model in (ours, theirs)]
    for loss in losses:
        loss.backward()
    assert relative_error(losses[0], losses[1]) < 1e-10
    gradients = dict(theirs.named_parameters())
    trained = {name for name, parameter in gradients.items() if parameter.requires_grad}
    assert {peft_name(name) for name in adapter.parameters} == trained
    for name, parameter in adapter.parameters.items():
        assert parameter.grad is not None
        expected = gradients[peft_name(name)].grad
        assert expected is not None
        assert relative_error(parameter.grad, expected) < 1e-9, name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", TARGETS)
def test_peft_reads_what_we_write(family: str, method: str, tmp_path: Path) -> None:
    ours = build_model(family, dtype=torch.float32)
    attach(ours, family, method).save(tmp_path)
    theirs = PeftModel.from_pretrained(build_model(family, dtype=torch.float32), str(tmp_path))
    assert float((logits(ours) - logits(theirs.eval())).abs().max()) <= 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", TARGETS)
def test_we_read_what_peft_writes(family: str, method: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    theirs = get_peft_model(
        build_model(family, dtype=torch.float32), peft_config(family, method, lora_dropout=0.1)
    )
    shift({name: p for name, p in theirs.named_parameters() if p.requires_grad})
    theirs.eval().save_pretrained(str(tmp_path))
    ours = build_model(family, dtype=torch.float32)
    load_adapter(ours, tmp_path, base_model="tiny")
    assert float((logits(ours.eval()) - logits(theirs)).abs().max()) <= 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", TARGETS)
def test_an_adapter_reads_back_the_same(family: str, method: str, tmp_path: Path) -> None:
    before = build_model(family, dtype=torch.float32)
    attach(before, family, method).save(tmp_path)
    after = build_model(family, dtype=torch.float32)
    load_adapter(after, tmp_path, base_model="tiny")
    assert torch.equal(logits(before), logits(after))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", TARGETS)
def test_merging_equals_pefts_merge(family: str, method: str, tmp_path: Path) -> None:
    ours = build_model(family, dtype=torch.float32)
    attach(ours, family, method).save(tmp_path)
    theirs = PeftModel.from_pretrained(
        build_model(family, dtype=torch.float32), str(tmp_path)
    ).merge_and_unload()
    unmerged = logits(ours)
    merge_lora(ours)
    assert not find_layers(ours)
    expected = theirs.state_dict()
    assert set(ours.state_dict()) == set(expected)
    for name, tensor in ours.state_dict().items():
        assert relative_error(tensor, expected[name]) < 1e-6, name
    assert relative_error(logits(ours), unmerged) < 1e-5


def test_a_bfloat16_base_is_merged_in_float32_and_rounded_once() -> None:
    model = build_model("qwen2", dtype=torch.bfloat16)
    attach(model, "qwen2", "lora")
    layer = find_layers(model)["model.layers.0.mlp.down_proj"]
    expected = (
        layer.weight_OI.double() + 2.0 * layer.lora_B.double() @ layer.lora_A.double()
    ).bfloat16()
    merge_lora(model)
    merged = model.model.layers[0].mlp.down_proj.weight
    assert merged.dtype == torch.bfloat16
    # One value in a thousand may lie on the edge between two roundings.
    assert float((merged != expected).double().mean()) < 1e-3


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("modules_to_save", ["lm_head"]),
        ("rank_pattern", {"q_proj": 2}),
        ("alpha_pattern", {"q_proj": 2}),
        ("bias", "all"),
        ("lora_bias", True),
        ("use_qalora", True),
        ("alora_invocation_tokens", [1, 2]),
        ("init_lora_weights", "pissa_niter_4"),
        ("a_setting_of_tomorrow", True),
    ],
)
def test_a_setting_of_peft_that_is_not_honoured_is_refused_by_name(
    setting: str, value: Any, tmp_path: Path
) -> None:
    attach(build_model("qwen2"), "qwen2", "lora").save(tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), setting: value}))
    with pytest.raises(ModelError, match=setting):
        load_adapter(build_model("qwen2"), tmp_path, base_model="tiny")


def test_an_adapter_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    with pytest.raises(ModelError, match="IA3"):
        load_adapter(build_model("qwen2"), tmp_path, base_model="tiny")


def test_an_adapter_of_a_wider_model_is_refused(tmp_path: Path) -> None:
    attach(build_model("qwen2"), "qwen2", "lora").save(tmp_path)
    with pytest.raises(ModelError, match="another model"):
        load_adapter(build_model("qwen2", hidden_size=64), tmp_path, base_model="tiny")


def test_a_configuration_that_promises_dora_without_magnitudes_is_refused(tmp_path: Path) -> None:
    attach(build_model("qwen2"), "qwen2", "lora").save(tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "use_dora": True}))
    with pytest.raises(ModelError, match="magnitude"):
        load_adapter(build_model("qwen2"), tmp_path, base_model="tiny")


def test_a_target_that_matches_nothing_is_an_error_with_the_names_there_are() -> None:
    with pytest.raises(ModelError, match=r"q_prj.*q_proj"):
        attach_lora(
            build_model("qwen2"), LoraSettings(2, 2), LoraTargets(["q_prj"], False), base_model=""
        )


def test_all_linear_leaves_out_the_head_and_takes_conv1d() -> None:
    model = build_model("gpt2")
    adapter = attach_lora(model, LoraSettings(2, 2), LoraTargets(None, True), base_model="")
    assert len(adapter.parameters) == 2 * 4 * 2  # A and B of four layers in two blocks
    assert not any("lm_head" in name for name in adapter.parameters)


def test_only_the_adapter_is_trained() -> None:
    model = build_model("qwen2")
    adapter = attach(model, "qwen2", "dora")
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert trained == {id(p) for p in adapter.parameters.values()}
