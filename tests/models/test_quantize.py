"""Packed linear layers against bitsandbytes' own, and against the numbers written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes import functional as bnb
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from tiny_models import build_model, name_head, relative_error
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from luthier.models.load import load_base_model
from luthier.models.quantize import (
    PackedWeight,
    Quantization,
    QuantizedLinear,
    count_parameters,
    dequantize_model,
    pack_weight,
    quantize_model,
    unpack_weight,
)

FAMILIES = ["gpt2", "gpt_neox", "gemma", "llama", "mistral", "qwen2", "qwen3"]
KINDS = {
    "nf4": Quantization(4, "nf4", False),
    "nf4 double": Quantization(4, "nf4", True),
    "fp4": Quantization(4, "fp4", False),
    "8 bit": Quantization(8),
}
IDS = torch.arange(3, 15).reshape(2, 6)
# The sixteen values of NF4, from the appendix of the QLoRA paper (four digits of them).
NF4 = (
    -1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0,
    0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0,
)  # fmt: skip


def draw_weight(dtype: torch.dtype = torch.float32, shape: tuple[int, int] = (48, 40)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def pack(weight: Tensor, kind: str, bias: Tensor | None = None) -> QuantizedLinear:
    return QuantizedLinear(pack_weight(weight, KINDS[kind]), bias, KINDS[kind])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["nf4", "nf4 double", "fp4"])
def test_a_4_bit_weight_is_exactly_that_of_bitsandbytes(kind: str, dtype: torch.dtype) -> None:
    weight, choice = draw_weight(dtype), KINDS[kind]
    theirs: Any = Linear4bit(
        40, 48, bias=False, quant_type=choice.quant_type, compress_statistics=choice.double
    )
    theirs.weight.data = weight.clone()
    theirs = theirs.to("cpu")
    expected = bnb.dequantize_4bit(theirs.weight.data, theirs.weight.quant_state)
    found = pack(weight, kind).weight
    assert found.dtype == dtype
    assert torch.equal(found, expected)
    assert not torch.equal(found, weight)


def test_an_8_bit_weight_is_exactly_that_of_bitsandbytes() -> None:
    theirs: Any = Linear8bitLt(40, 48, bias=False, has_fp16_weights=False)
    theirs.weight.data = draw_weight()
    theirs = theirs.to("cpu")
    expected = bnb.int8_vectorwise_dequant(theirs.weight.data, theirs.weight.SCB)
    assert torch.equal(pack(draw_weight(), "8 bit").weight, expected)


def test_nf4_takes_the_nearest_of_the_papers_values_in_blocks_of_64() -> None:
    weight = draw_weight()
    blocks = weight.reshape(-1, 64)
    scale = blocks.abs().amax(1, keepdim=True)
    values = torch.tensor(NF4)
    nearest = ((blocks / scale)[..., None] - values).abs().argmin(-1)
    expected = (values[nearest] * scale).reshape(weight.shape)
    assert relative_error(pack(weight, "nf4").weight, expected) < 1e-4


def test_8_bit_is_off_by_half_a_127th_of_the_rows_largest_weight_at_most() -> None:
    weight = draw_weight()
    step = weight.abs().amax(1, keepdim=True) / 127
    error = (pack(weight, "8 bit").weight - weight).abs() / step
    assert float(error.max()) <= 0.5 + 0.07  # and float16's own rounding, 127 · 2⁻¹¹
    assert float(error.max()) > 0.4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_packed_while_loading_equals_one_packed_in_memory(
    family: str, kind: str, tmp_path: Path
) -> None:
    in_memory = build_model(family, dtype=torch.float32)
    in_memory.save_pretrained(tmp_path)
    loaded = load_base_model(str(tmp_path), dtype=torch.float32, quantization=KINDS[kind]).eval()
    quantize_model(in_memory, KINDS[kind])
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, in_memory(IDS).logits)
    assert not hasattr(loaded.config, "quantization_config")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_layers_are_packed_but_the_head(family: str, tied: bool, tmp_path: Path) -> None:
    model = build_model(family, dtype=torch.float32, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    loaded = load_base_model(str(tmp_path), dtype=torch.float32, quantization=KINDS["nf4"])
    plain = {n for n, m in loaded.named_modules() if isinstance(m, nn.Linear | Conv1D)}
    packed = {n for n, m in loaded.named_modules() if isinstance(m, QuantizedLinear)}
    linear = {n for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)}
    assert plain == {name_head(model)}
    assert packed == linear - plain
    assert count_parameters(loaded) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_an_unpacked_model_is_an_ordinary_one(family: str, tmp_path: Path) -> None:
    model = build_model(family, dtype=torch.float32)
    quantize_model(model, KINDS["nf4 double"])
    with torch.no_grad():
        expected = model(IDS).logits
        dequantize_model(model)
        assert relative_error(model(IDS).logits, expected) < 1e-5
        model.save_pretrained(tmp_path)
        again = load_base_model(str(tmp_path), dtype=torch.float32).eval()
        assert torch.equal(again(IDS).logits, model(IDS).logits)
    assert {type(m) for m in again.modules()} == {type(m) for m in build_model(family).modules()}


@pytest.mark.parametrize("kind", KINDS)
def test_output_and_gradient_are_those_of_the_unpacked_weight(kind: str) -> None:
    bias = torch.arange(48.0)
    layer = pack(draw_weight(), kind, bias)
    plain = nn.Linear(40, 48)
    plain.weight.data, plain.bias.data = layer.weight, bias
    inputs = [torch.ones(2, 3, 40).cumsum(2).requires_grad_() for _ in range(2)]
    outputs = [module(x) for module, x in zip((layer, plain), inputs, strict=True)]
    for output in outputs:
        output.square().sum().backward()
    assert torch.equal(outputs[0], outputs[1])
    assert inputs[0].grad is not None
    assert inputs[1].grad is not None
    assert relative_error(inputs[0].grad, inputs[1].grad) < 1e-6


def test_no_unpacked_weight_is_kept_for_the_backward_pass() -> None:
    layer = pack(draw_weight(), "nf4")
    kept: list[torch.Size] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.ones(3, 40, requires_grad=True))
    assert torch.Size((48, 40)) not in kept
    assert torch.Size((40, 48)) not in kept


@pytest.mark.parametrize("kind", KINDS)
def test_a_cast_of_the_model_reaches_neither_codes_nor_scales(kind: str) -> None:
    layer = pack(draw_weight(), kind)
    before = layer.weight.clone()
    assert torch.equal(layer.to(torch.bfloat16).double().weight, before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_weight_is_packed_in_the_same_way(kind: str) -> None:
    layer = pack(draw_weight(), kind)
    other = draw_weight().flip(0) * 3
    layer.write_weight(other)
    assert torch.equal(layer.weight, unpack_weight(pack_weight(other, KINDS[kind])))


def test_packing_what_was_unpacked_changes_nothing() -> None:
    once = pack(draw_weight(), "nf4").weight
    assert torch.equal(pack(once, "nf4").weight, once)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (3, 65)])
def test_any_shape_packs(shape: tuple[int, int]) -> None:
    packed: PackedWeight = pack_weight(draw_weight(shape=shape), KINDS["nf4 double"])
    assert unpack_weight(packed).shape == shape
