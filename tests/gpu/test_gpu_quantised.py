"""4- and 8-bit weights on the device's kernels, beside bitsandbytes' layers and PEFT on them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from bitsandbytes import functional as bnb
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from gpu_cases import assert_no_further, collect_gradients, list_errors
from peft import LoraConfig, get_peft_model
from tiny_models import make_examples
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from verification import layers, peft_models, quantisation
from verification.check import compare_named, relative_error
from verification.models import build_model
from verification.peft_models import peft_name

from luthier.adapters.attach_lora import merge_lora
from luthier.data.batches import pack
from luthier.models.load import load_base_model
from luthier.models.packed import PackedModel
from luthier.models.quantize import Quantization, QuantizedLinear, pack_weight
from luthier.objectives.sft import sum_sft_loss

pytestmark = pytest.mark.gpu

KINDS = {
    "nf4": Quantization(4, "nf4", False),
    "nf4 double": Quantization(4, "nf4", True),
    "fp4": Quantization(4, "fp4", False),
    "fp4 double": Quantization(4, "fp4", True),
    "8 bit": Quantization(8),
}
FOUR_BIT = [kind for kind in KINDS if kind != "8 bit"]
# Rows of whole blocks of 64: of others bitsandbytes' own layers mistake the scales on some CPUs.
WIDTHS: dict[str, dict[str, int]] = {
    "qwen2": {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16},
    "gpt2": {"n_embd": 64},
}


def draw_weight(dtype: torch.dtype, place: torch.device) -> Tensor:
    """(96, 192): 288 blocks of 64, more than one block of scales."""
    return quantisation.draw_weight(96, 192).to(place, dtype)


def pack_layer(weight: Tensor, kind: str) -> QuantizedLinear:
    return QuantizedLinear(pack_weight(weight, KINDS[kind]), None, KINDS[kind])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", FOUR_BIT)
def test_a_4_bit_weight_is_exactly_that_of_bitsandbytes(
    kind: str, dtype: torch.dtype, place: torch.device
) -> None:
    choice, weight = KINDS[kind], draw_weight(dtype, place)
    theirs: Any = Linear4bit(
        192, 96, bias=False, quant_type=choice.quant_type, compress_statistics=choice.double
    )
    theirs.weight.data = weight.cpu()
    packed = theirs.to(place).weight
    expected = bnb.dequantize_4bit(packed.data, packed.quant_state)
    found = pack_layer(weight, kind).weight
    assert (found.device, found.dtype) == (place, dtype)
    assert torch.equal(found, expected)
    # Half the distance of two neighbours among 16 values, at the most.
    assert 0 < relative_error(found, weight) < 0.2


def test_an_8_bit_weight_is_exactly_that_of_bitsandbytes(place: torch.device) -> None:
    weight = draw_weight(torch.float32, place)
    theirs: Any = Linear8bitLt(192, 96, bias=False, has_fp16_weights=False)
    theirs.weight.data = weight.cpu()
    packed = theirs.to(place).weight
    expected = bnb.int8_vectorwise_dequant(packed.data, packed.SCB)
    assert torch.equal(pack_layer(weight, "8 bit").weight, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_device_packs_as_the_processor_does(kind: str, place: torch.device) -> None:
    weight = draw_weight(torch.float32, torch.device("cpu"))
    there, here = pack_layer(weight.to(place), kind).weight.cpu(), pack_layer(weight, kind).weight
    # A scale in 8 bit, or a weight in the middle of two values, may go to either neighbour.
    step = float((here - weight).abs().max())
    assert float((there - here).abs().max()) <= 2.1 * step
    assert float(((there - here).abs() > 1e-2 * weight.abs().max()).double().mean()) < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_scales_follow_a_layer_to_another_device_and_back(kind: str, place: torch.device) -> None:
    layer = pack_layer(draw_weight(torch.float32, place), kind)
    expected = layer.weight.clone()
    layer.to("cpu")
    assert layer.weight.device.type == "cpu"
    assert all(tensor.device.type == "cpu" for tensor in layer.list_scales().values())
    assert relative_error(layer.weight, expected.cpu()) < 1e-6
    layer.to(place)
    assert all(tensor.device == place for tensor in layer.list_scales().values())
    assert torch.equal(layer.weight, expected)


@pytest.fixture(scope="module", params=list(WIDTHS))
def base(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(family, folder) of a base model in float32."""
    folder = tmp_path_factory.mktemp(request.param)
    model = build_model(request.param, dtype=torch.float32, **WIDTHS[request.param])
    model.save_pretrained(folder)
    return request.param, str(folder)


@pytest.fixture(autouse=True)
def _ids(monkeypatch: pytest.MonkeyPatch, place: torch.device) -> None:
    monkeypatch.setattr(peft_models, "IDS", peft_models.IDS.to(place))


def load_theirs(folder: str, kind: str, place: torch.device) -> Any:
    packing = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=KINDS[kind].quant_type,
        bnb_4bit_use_double_quant=KINDS[kind].double,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, quantization_config=packing, device_map={"": place}
    )


def load_ours(
    folder: str, kind: str, place: torch.device, dtype: torch.dtype = torch.float32
) -> Any:
    return load_base_model(folder, dtype=dtype, quantization=KINDS[kind], place=place)


@pytest.mark.parametrize("kind", ["nf4 double", "fp4"])
@pytest.mark.parametrize("method", peft_models.METHODS)
def test_loss_and_gradients_through_a_4_bit_base_equal_pefts_on_linear4bit(
    base: tuple[str, str], method: str, kind: str, place: torch.device
) -> None:
    family, folder = base
    ours = load_ours(folder, kind, place)
    assert {parameter.device for parameter in ours.parameters()} == {place}
    adapter = peft_models.attach(ours, family, method)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=list(peft_models.TARGETS[family]),
        **peft_models.METHODS[method],
    )
    theirs = get_peft_model(load_theirs(folder, kind, place), config)
    parameters = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in adapter.parameters.items():
            parameters[peft_name(name)].copy_(parameter)
    losses = [
        model.train()(peft_models.IDS, labels=peft_models.IDS).loss for model in (ours, theirs)
    ]
    for loss in losses:
        loss.backward()
    assert relative_error(losses[0], losses[1]) < 1e-5
    names = {name: peft_name(name) for name in adapter.parameters}
    found = {name: parameter.grad for name, parameter in adapter.parameters.items()}
    expected = {name: parameters[theirs].grad for name, theirs in names.items()}
    assert compare_named(found, expected) < 5e-4  # type: ignore[arg-type]


@pytest.mark.parametrize("method", layers.METHODS)
@pytest.mark.parametrize("kind", ["nf4 double", "8 bit"])
@pytest.mark.parametrize("tokens", [3, 80])
def test_a_layer_on_a_packed_base_equals_pefts_on_the_unpacked_weight(
    tokens: int, kind: str, method: str, place: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = KINDS[kind]
    monkeypatch.setattr(quantisation, "NF4_DOUBLE", choice)
    weight = quantisation.draw_weight(48, 64).to(place)
    monkeypatch.setattr(quantisation, "draw_weight", lambda *_: weight)
    if choice.bits == 8:
        unpacked = pack_layer(weight, kind).weight
        monkeypatch.setattr(quantisation.bnb, "dequantize_4bit", lambda *_: unpacked)
    with torch.device(place):
        ours, peft = quantisation.build_quantised_pair(method)
        monkeypatch.undo()
        monkeypatch.setattr(layers, "INPUTS", 64)
        monkeypatch.setattr(layers, "OUTPUTS", 48)
        for what, found, expected in layers.run_both(ours.train(), peft.train(), tokens):
            assert relative_error(found, expected) < 1e-6, what


@pytest.mark.parametrize("kind", ["nf4 double", "8 bit"])
def test_under_autocast_a_packed_base_strays_no_further_than_its_unpacked_twin(
    base: tuple[str, str], kind: str, place: torch.device
) -> None:
    family, folder = base
    batch = pack(make_examples(3, 40, 17)).to(place)
    found: list[dict[str, Tensor]] = []
    start: dict[str, Tensor] = {}
    for dtype, unpacks in ((torch.bfloat16, False), (torch.bfloat16, True), (torch.float64, True)):
        # As a run loads it: what is not packed in bfloat16.
        model = load_ours(folder, kind, place, torch.bfloat16)
        if unpacks:
            twin = copy.deepcopy(model)
            merge_lora(twin)  # without an adapter it unpacks, and no more
            model = twin.to(dtype)
        adapter = peft_models.attach(model, family, "dora")
        with torch.no_grad():  # each precision draws other numbers
            for name, parameter in adapter.parameters.items():
                parameter.copy_(start.setdefault(name, parameter.detach().clone()))
        adapter.refresh()
        packed = PackedModel(model)
        model.train()
        with torch.autocast(place.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = sum_sft_loss(packed, batch)
        loss.backward()
        assert all(p.grad is not None for p in adapter.parameters.values())
        found.append({"loss": loss.detach(), **collect_gradients(model)})
    errors = [list_errors(run, found[2]) for run in found[:2]]
    assert_no_further(*errors, torch.bfloat16)
