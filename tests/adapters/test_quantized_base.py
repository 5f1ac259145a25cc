"""LoRA on a packed base: PEFT's on bitsandbytes' own layers, and the merge written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_models import build_model, relative_error
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from luthier.adapters.attach_lora import LoraTargets, attach_lora, find_layers, merge_lora
from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.load_adapter import load_adapter
from luthier.adapters.lora import LoraLayer, LoraSettings
from luthier.models.load import load_base_model
from luthier.models.quantize import Quantization, QuantizedLinear, pack_weight

NF4 = Quantization(4, "nf4", True)
TARGETS = {"qwen2": ["q_proj", "down_proj"], "gpt2": ["c_attn", "c_proj"]}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
}
# Rows of whole blocks of 64: of others bitsandbytes' own layers mistake the scales on some CPUs.
WIDTHS: dict[str, dict[str, int]] = {
    "qwen2": {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16},
    "gpt2": {"n_embd": 64},
}
IDS = torch.arange(3, 15).reshape(2, 6)


@pytest.fixture(scope="module", params=list(TARGETS))
def base(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(family, folder) of a base model in float32."""
    folder = tmp_path_factory.mktemp(request.param)
    model = build_model(request.param, dtype=torch.float32, **WIDTHS[request.param])
    model.save_pretrained(folder)
    return request.param, str(folder)


def load_theirs(folder: str) -> Any:
    packing = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, quantization_config=packing, device_map={"": "cpu"}
    )


def load_ours(folder: str) -> Any:
    return load_base_model(folder, dtype=torch.float32, quantization=NF4)


def attach(model: Any, family: str, method: str) -> AttachedAdapter:
    """An adapter with every trained tensor moved off its start."""
    choices = METHODS[method]
    settings = LoraSettings(
        4,
        8,
        scaling="alpha/sqrt(rank)" if choices.get("use_rslora") else "alpha/rank",
        magnitude=bool(choices.get("use_dora")),
    )
    adapter = attach_lora(model, settings, LoraTargets(TARGETS[family], False), base_model="tiny")
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapter.parameters.items():
            noise = 0.1 * torch.randn_like(parameter)
            parameter.add_(noise * parameter if name.endswith("magnitude") else noise)
    adapter.refresh()
    return adapter


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize("method", METHODS)
def test_loss_and_all_gradients_on_an_nf4_base_equal_peft(
    base: tuple[str, str], method: str
) -> None:
    family, folder = base
    ours = load_ours(folder)
    adapter = attach(ours, family, method)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS[family], **METHODS[method])
    theirs = get_peft_model(load_theirs(folder), config)
    parameters = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in adapter.parameters.items():
            parameters[peft_name(name)].copy_(parameter)
    losses = [model.train()(IDS, labels=IDS).loss for model in (ours, theirs)]
    for loss in losses:
        loss.backward()
    assert relative_error(losses[0], losses[1]) < 1e-6
    for name, parameter in adapter.parameters.items():
        expected = parameters[peft_name(name)].grad
        assert parameter.grad is not None
        assert expected is not None
        assert relative_error(parameter.grad, expected) < 1e-4, name


def peft_name(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    ending = "lora_magnitude_vector.default" if kind == "magnitude" else f"{kind}.default"
    return f"base_model.model.{layer}.{ending}.weight"


@pytest.mark.parametrize("method", METHODS)
def test_peft_reads_what_was_trained_on_an_nf4_base(
    base: tuple[str, str], method: str, tmp_path: Path
) -> None:
    family, folder = base
    ours = load_ours(folder)
    attach(ours, family, method).save(tmp_path)
    theirs = PeftModel.from_pretrained(load_theirs(folder), str(tmp_path))
    with torch.no_grad():
        # In training mode: bitsandbytes' inference on a CPU rounds to bfloat16.
        expected = theirs.train()(IDS).logits
    assert relative_error(logits(ours), expected) < 1e-5
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is False  # a packed Conv1D is (O, I), as PEFT expects it
    assert config["base_model_name_or_path"] == "tiny"


@pytest.mark.parametrize("method", METHODS)
def test_a_merge_is_the_unpacked_weight_plus_the_update(base: tuple[str, str], method: str) -> None:
    family, folder = base
    model = load_ours(folder)
    attach(model, family, method)
    expected: dict[str, Tensor] = {}
    for name, layer in find_layers(model).items():
        update = layer.settings.scale * layer.lora_B.detach() @ layer.lora_A.detach()
        changed = layer.weight_OI + update
        if layer.magnitude is not None:
            gain = layer.magnitude.detach() / changed.norm(dim=1)
            changed = gain[:, None] * changed
        expected[name] = changed.T if family == "gpt2" else changed
    before = logits(model)
    merge_lora(model)
    assert relative_error(logits(model), before) < 1e-5
    assert not [m for m in model.modules() if isinstance(m, QuantizedLinear | LoraLayer)]
    for name, weight in expected.items():
        assert relative_error(model.get_submodule(name).weight, weight) < 1e-6


def test_a_merge_in_a_bfloat16_model_adds_in_float32_and_casts_once() -> None:
    torch.manual_seed(0)
    base = QuantizedLinear(pack_weight(torch.randn(48, 40).bfloat16(), NF4), None, NF4)
    layer = LoraLayer(base, LoraSettings(2, 2), torch.float32)
    nn.init.normal_(layer.lora_B, std=1e-3)
    merged = layer.compute_merged()
    assert merged.dtype == torch.float32
    expected = base.weight.double() + layer.lora_B.double() @ layer.lora_A.double()
    assert relative_error(merged.double(), expected) < 1e-6


@pytest.mark.parametrize("tokens", [3, 80])
@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_layer_on_a_packed_base_equals_one_on_the_unpacked_weight(
    bits: Any, magnitude: bool, tokens: int
) -> None:
    torch.manual_seed(0)
    choice = Quantization(bits)
    packed = QuantizedLinear(pack_weight(torch.randn(48, 40), choice), torch.randn(48), choice)
    plain = nn.Linear(40, 48)
    plain.weight.data, plain.bias.data = packed.weight, packed.bias.detach()  # type: ignore[union-attr]
    layers: list[LoraLayer] = []
    for one in (packed, plain):
        torch.manual_seed(1)
        layer = LoraLayer(one, LoraSettings(4, 8, magnitude=magnitude), torch.float32)
        nn.init.normal_(layer.lora_B)
        layer.refresh_norm()
        layers.append(layer)
    x = torch.randn(tokens, 40)
    for layer in layers:
        layer.train()(x).square().sum().backward()
    assert torch.equal(layers[0](x), layers[1](x))
    for kind in ("lora_A", "lora_B", *(["magnitude"] if magnitude else [])):
        assert torch.equal(getattr(layers[0], kind).grad, getattr(layers[1], kind).grad)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_no_unpacked_weight_is_kept_for_the_backward_pass(dropout: float) -> None:
    base = QuantizedLinear(pack_weight(torch.randn(48, 40), NF4), None, NF4)
    layer = LoraLayer(base, LoraSettings(2, 2, dropout, magnitude=True), torch.float32).train()
    kept: list[torch.Size] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.ones(3, 40, requires_grad=True))
    assert kept
    assert not {torch.Size((48, 40)), torch.Size((40, 48))} & set(kept)


def test_an_adapter_trained_on_a_packed_base_reads_back_the_same(
    base: tuple[str, str], tmp_path: Path
) -> None:
    family, folder = base
    before = load_ours(folder)
    attach(before, family, "dora").save(tmp_path)
    after = load_ours(folder)
    load_adapter(after, tmp_path, base_model="tiny")
    assert torch.equal(logits(before), logits(after))
