"""One LoRA layer against PEFT's, in float64: forward and every gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from tiny_models import relative_error
from torch import nn
from verification.layers import (
    ALPHA,
    INPUTS,
    METHODS,
    OUTPUTS,
    RANK,
    build_base,
    build_dropping_pair,
    build_pair,
    run_both,
    run_steps_in_both,
)

from luthier.adapters.lora import LoraLayer, LoraSettings

TOLERANCE = 1e-12


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    torch.manual_seed(0)
    return


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["plain", "bias", "conv1d"])
@pytest.mark.parametrize("tokens", [1, 4])  # fewer than inputs and more: two ways of computing
def test_output_and_gradients_equal_peft_in_float64(kind: str, method: str, tokens: int) -> None:
    ours, peft = build_pair(kind, method)
    for what, found, expected in run_both(ours.train(), peft.train(), tokens):
        assert relative_error(found, expected) < TOLERANCE, what


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["plain", "bias", "conv1d"])
def test_the_dropout_path_equals_peft_under_the_same_mask(kind: str, method: str) -> None:
    ours, peft = build_dropping_pair(kind, method)
    for what, found, expected in run_both(ours.train(), peft.train()):
        assert relative_error(found, expected) < TOLERANCE, what


@pytest.mark.parametrize("method", METHODS)
def test_both_forward_paths_agree_when_nothing_is_dropped(method: str) -> None:
    fused, _ = build_pair("bias", method)
    torch.manual_seed(0)
    plain, _ = build_pair("bias", method)
    plain.settings = plain.settings._replace(dropout=0.5)  # takes the path; p of the module is 0
    x = torch.randn(3, INPUTS, dtype=torch.float64)
    outputs = [layer.train()(x) for layer in (fused, plain)]
    assert relative_error(outputs[0], outputs[1]) < TOLERANCE


def test_dropout_is_off_in_evaluation() -> None:
    layer, _ = build_pair("bias", "dora", dropout=0.9)
    x = torch.randn(3, INPUTS, dtype=torch.float64)
    assert torch.equal(layer.eval()(x), layer.eval()(x))


def test_dropout_drops_the_stated_share() -> None:
    layer = LoraLayer(nn.Linear(400, 400).double(), LoraSettings(2, 2, 0.25), torch.float64)
    dropped = layer.train().dropout(torch.ones(100, 400, dtype=torch.float64))
    assert float((dropped == 0).double().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(dropped.max()) == pytest.approx(1 / 0.75)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["plain", "bias", "conv1d"])
def test_a_new_adapter_leaves_the_layer_as_it_was(kind: str, method: str) -> None:
    base = build_base(kind)
    layer = LoraLayer(base, LoraSettings(RANK, ALPHA, **METHODS[method]), torch.float64)
    x = torch.randn(3, INPUTS, dtype=torch.float64)
    assert relative_error(layer(x), base(x)) < TOLERANCE


@pytest.mark.parametrize("method", METHODS)
def test_five_steps_equal_peft_with_torch_adamw(method: str) -> None:
    ours, peft = build_pair("bias", method)
    run_steps_in_both(ours, peft, steps=5)
    for what, found, expected in run_both(ours, peft):
        assert relative_error(found, expected) < 1e-9, what


def test_the_norm_stands_still_between_refreshes() -> None:
    layer, _ = build_pair("plain", "dora")
    before = layer.compute_norm()
    with torch.no_grad():
        layer.lora_B.mul_(2.0)
    assert layer._norm_O is not None
    assert relative_error(layer._norm_O, before) < TOLERANCE
    layer.refresh_norm()
    assert relative_error(layer._norm_O, before) > 0.01


@pytest.mark.parametrize("kind", ["plain", "conv1d"])
def test_the_factored_norm_is_the_norm_of_the_sum(kind: str) -> None:
    layer, _ = build_pair(kind, "dora")
    weight = layer.weight_OI + layer.settings.scale * layer.lora_B @ layer.lora_A
    assert relative_error(layer.compute_norm(), weight.norm(dim=1)) < TOLERANCE


def test_the_magnitude_trains() -> None:
    layer, _ = build_pair("bias", "dora")
    assert layer.magnitude is not None
    before = layer.magnitude.detach().clone()
    optimizer = torch.optim.AdamW([p for p in layer.parameters() if p.requires_grad], lr=0.01)
    layer(torch.randn(3, INPUTS, dtype=torch.float64)).square().sum().backward()
    optimizer.step()
    assert bool((layer.magnitude != before).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rows_of_zeros_give_no_nan(dtype: torch.dtype) -> None:
    base = nn.Linear(INPUTS, OUTPUTS).to(dtype)
    with torch.no_grad():
        base.weight[1:3] = 0.0
    trained = torch.promote_types(dtype, torch.float32)
    layer = LoraLayer(base, LoraSettings(RANK, ALPHA, magnitude=True), trained)
    optimizer = torch.optim.AdamW([p for p in layer.parameters() if p.requires_grad], lr=0.01)
    x = torch.randn(4, INPUTS, dtype=dtype)
    for _ in range(20):
        optimizer.zero_grad()
        y = layer(x)
        assert torch.isfinite(y).all()
        (y.float() - 1.0).square().sum().backward()
        for parameter in (layer.lora_A, layer.lora_B, layer.magnitude):
            assert parameter is not None
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()
        optimizer.step()
        layer.refresh_norm()


def test_a_bias_a_million_times_larger_does_not_drown_the_magnitude_gradient() -> None:
    base = nn.Linear(INPUTS, OUTPUTS)
    with torch.no_grad():
        base.bias.fill_(1e6)
    single = LoraLayer(base, LoraSettings(RANK, ALPHA, magnitude=True), torch.float32)
    exact_base = nn.Linear(INPUTS, OUTPUTS).double()
    exact_base.load_state_dict({k: v.double() for k, v in base.state_dict().items()})
    exact = LoraLayer(exact_base, LoraSettings(RANK, ALPHA, magnitude=True), torch.float64)
    x = torch.randn(50, INPUTS)
    weights = torch.randn(50, OUTPUTS)
    (single(x) * weights).sum().backward()
    (exact(x.double()) * weights.double()).sum().backward()
    assert single.magnitude is not None
    assert exact.magnitude is not None
    assert single.magnitude.grad is not None
    assert exact.magnitude.grad is not None
    assert relative_error(single.magnitude.grad.double(), exact.magnitude.grad) < 1e-4


def test_a_gain_finer_than_bfloat16_still_reaches_the_output() -> None:
    # Next to 1, bfloat16 knows 1.0 and 1.0078: a gain of 1.003 has to act through the weights.
    base = nn.Linear(2048, 8, bias=False).bfloat16()
    layer = LoraLayer(base, LoraSettings(2, 2, magnitude=True), torch.float32)
    x = torch.randn(64, 2048).bfloat16()
    before = layer(x).double()
    with torch.no_grad():
        assert layer.magnitude is not None
        layer.magnitude.mul_(1.003)
    after = layer(x).double()
    gain = float((after * before).sum().detach() / before.square().sum().detach())
    assert gain == pytest.approx(1.003, abs=5e-4)


def test_scale_is_alpha_over_rank_and_with_rslora_over_its_root() -> None:
    assert LoraSettings(16, 32).scale == 2.0
    assert LoraSettings(16, 32, scaling="alpha/sqrt(rank)").scale == 8.0
    assert LoraSettings(8, 4, scaling="alpha/sqrt(rank)").scale == pytest.approx(4 / math.sqrt(8))
