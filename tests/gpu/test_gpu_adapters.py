"""LoRA, rsLoRA and DoRA on the device, beside PEFT's: outputs and every gradient."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from gpu_cases import LOWER, assert_no_further, list_errors, needs_gpu
from torch import Tensor
from verification import adapters, layers, peft_models
from verification.check import relative_error

from luthier import device

pytestmark = pytest.mark.gpu

KINDS = ("plain", "bias", "conv1d")
INPUTS, OUTPUTS, RANK = 96, 64, 8
TOKENS = (5, 150)  # fewer than inputs and more: the layer computes in two ways


@pytest.fixture(autouse=True)
def _sizes(monkeypatch: pytest.MonkeyPatch, place: torch.device) -> None:
    """Sizes that a GPU's kernels are made for, and the models' tokens on the device."""
    for name, value in (("INPUTS", INPUTS), ("OUTPUTS", OUTPUTS), ("RANK", RANK)):
        monkeypatch.setattr(layers, name, value)
    for module in (adapters, peft_models):
        monkeypatch.setattr(module, "IDS", peft_models.IDS.to(place))


@pytest.mark.parametrize("method", layers.METHODS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", TOKENS)
def test_output_and_gradients_equal_peft_in_float64(
    tokens: int, kind: str, method: str, place: torch.device
) -> None:
    with torch.device(place):
        for build in (layers.build_pair, layers.build_dropping_pair):
            ours, peft = build(kind, method)
            for what, found, expected in layers.run_both(ours.train(), peft.train(), tokens):
                assert found.device == place
                assert relative_error(found, expected) < 1e-10, what


class Pass:
    """Output and gradients of one layer for one input, in the precision that it is given."""

    def __init__(self, layer: Any, x: Tensor, weights: Tensor, of: Any, rounds: bool) -> None:
        x = x.clone().requires_grad_()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=rounds):
            output = layer(x)
        (output * weights).sum().backward()
        self.found = {"output": output, **of(layer, x)}


@pytest.mark.parametrize("dtype", LOWER)
@pytest.mark.parametrize("method", layers.METHODS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", TOKENS)
def test_lower_precision_strays_from_float64_no_further_than_peft(
    tokens: int, kind: str, method: str, dtype: torch.dtype, place: torch.device
) -> None:
    # The base in `dtype`, what is trained in float32 and products under autocast, as in a run.
    with torch.device(place):
        ours, peft = (layer.train() for layer in layers.build_pair(kind, method))
        for layer in (ours, peft):
            layer.float()
        ours.base.to(dtype)
        ours._base_norm_squared_O = None  # it was that of the weight before it was rounded
        ours.refresh_norm()
        peft.base_layer.to(dtype)
        exact = copy.deepcopy(peft).double()
        # In float32, as norms give it, also where the layer's weight is bfloat16.
        x = torch.randn(2, tokens, INPUTS).to(dtype).float()
        weights = torch.randn(2, tokens, OUTPUTS)
        rounds = dtype == torch.bfloat16
        truth = Pass(exact, x.double(), weights.double(), layers.gradients_of_peft, False)
        theirs = Pass(peft, x, weights, layers.gradients_of_peft, rounds)
        mine = Pass(ours, x, weights, layers.gradients_of_ours, rounds)
    errors = [list_errors(run.found, truth.found) for run in (mine, theirs)]
    assert_no_further(*errors, dtype)


@pytest.mark.parametrize("method", peft_models.METHODS)
def test_whole_models_equal_peft_in_float64(method: str, place: torch.device) -> None:
    with torch.device(place):
        assert adapters.compare_models(method) < 1e-6
        assert adapters.compare_merged(method) < 1e-6
        assert adapters.compare_files(method) < 1e-6


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_tf32_rounds_a_forward_pass_but_no_norm_and_no_merge(
    method: str, place: torch.device
) -> None:
    with torch.device(place):
        layer, _ = layers.build_pair("bias", method)
        layer.float()
        exact = copy.deepcopy(layer).double()
        x = torch.randn(150, INPUTS)
        truth = exact(x.double())
    before = layer(x).detach(), layer.compute_norm(), layer.compute_delta()
    device.allow_tf32(True)
    rounded, norm, delta = layer(x).detach(), layer.compute_norm(), layer.compute_delta()
    assert torch.equal(norm, before[1])
    assert torch.equal(delta, before[2])
    assert relative_error(before[0].double(), truth) < 5e-6
    assert relative_error(rounded.double(), truth) < 5e-3
    if place.type == "cpu":
        assert torch.equal(rounded, before[0])


@needs_gpu
def test_tf32_is_seen_where_it_is_allowed(place: torch.device) -> None:
    # Guards the test above: on a card that has it, a product must change.
    if torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("this card has no TF32")
    a, b = torch.randn(2, 256, 256, device=place)
    exact = a.double() @ b.double()
    assert relative_error((a @ b).double(), exact) < 1e-5
    device.allow_tf32(True)
    assert relative_error((a @ b).double(), exact) > 1e-5
    with device.exact_products():
        assert relative_error((a @ b).double(), exact) < 1e-5
