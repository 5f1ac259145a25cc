"""DPO, IPO, SimPO and ORPO on the device beside TRL's own losses on the processor."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from gpu_cases import assert_no_further, list_errors
from torch import Tensor
from verification import objectives
from verification.check import compare_named
from verification.pairs import build_exact_model

from luthier.adapters.attach_lora import LoraTargets, attach_lora
from luthier.adapters.lora import LoraSettings
from luthier.adapters.switched_off import switched_off
from luthier.data.pair_batches import pack_pairs
from luthier.models.packed import PackedModel
from luthier.objectives import OBJECTIVES
from luthier.objectives.objective import count_totals
from luthier.objectives.settings import ObjectiveSettings
from luthier.train.reference import attach_reference, compute_reference_log_probs

pytestmark = pytest.mark.gpu

METHODS = ("dpo", "ipo", "simpo", "orpo")


@cache
def run_trl(method: str) -> tuple[Tensor, dict[str, Tensor], dict[str, float]]:
    return objectives.run_trl(method)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_loss_gradients_and_figures_equal_trls_in_float64(
    method: str, shared: bool, place: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        objectives, "pack_pairs", lambda *given, **named: pack_pairs(*given, **named).to(place)
    )
    with torch.device(place):
        loss, gradients, figures = objectives.run_ours(method, objectives.PAIRS, 2, shared)
    expected_loss, expected, metrics = run_trl(method)
    assert loss.device.type == place.type
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-6)
    found = {name: gradient.cpu() for name, gradient in gradients.items()}
    assert compare_named(found, expected) < 1e-5
    for ours, theirs in objectives.FIGURES.items():
        assert figures[ours] == pytest.approx(metrics[theirs], rel=1e-6)


def run_lora(
    method: str, dtype: torch.dtype, place: torch.device, stored: bool, *, moved: bool = True
) -> Any:
    """Loss and gradients of a LoRA policy; its reference is the base below it."""
    causal = build_exact_model("qwen2").to(torch.bfloat16).to(place, dtype)
    packed = PackedModel(causal)
    wide = torch.promote_types(dtype, torch.float32)
    torch.manual_seed(1)
    settings = LoraSettings(4, 8)
    adapter = attach_lora(causal, settings, LoraTargets(None, True), base_model="", dtype=wide)
    rounds = dtype == torch.bfloat16
    pairs: list[Any] = list(objectives.PAIRS)
    if stored:
        with torch.autocast(place.type, torch.bfloat16, enabled=rounds):
            pairs = attach_reference(pairs, compute_reference_log_probs(packed, pairs, place))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # off its start; the same numbers in every precision
        for parameter in adapter.parameters.values() if moved else ():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.1 * noise.to(parameter))
    objective = OBJECTIVES[method](
        ObjectiveSettings(
            beta=objectives.BETA[method], reference_model=lambda: switched_off(packed)
        )
    )
    batch = pack_pairs(pairs, shared=True, prompt_labels=True).to(place)
    with torch.autocast(place.type, torch.bfloat16, enabled=rounds):
        share = objective(packed, batch, count_totals(pairs))
    share.loss.backward()
    gradients = {name: p.grad for name, p in adapter.parameters.items()}
    return {"loss": share.loss.detach(), **gradients}


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_under_autocast_a_lora_policy_stays_near_float64(
    method: str, stored: bool, place: torch.device
) -> None:
    exact = run_lora(method, torch.float64, torch.device("cpu"), stored)
    # Rounded by the processor, whose kernels are others.
    theirs = run_lora(method, torch.bfloat16, torch.device("cpu"), stored)
    found = run_lora(method, torch.bfloat16, place, stored)
    assert_no_further(list_errors(found, exact), list_errors(theirs, exact), torch.bfloat16, 3.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stored", [True, False])
def test_before_the_first_step_a_policy_is_its_own_reference(
    stored: bool, dtype: torch.dtype, place: torch.device
) -> None:
    found = run_lora("dpo", dtype, place, stored, moved=False)
    # The stored one was worked out in another row, whose products round otherwise.
    noise = {torch.float32: 1e-5, torch.bfloat16: 0.02}[dtype] if stored else 1e-6
    assert float(found["loss"]) == pytest.approx(math.log(2), abs=noise)


@pytest.mark.parametrize("method", ["dpo", "ipo"])
def test_a_stored_reference_is_the_one_worked_out_on_the_way(
    method: str, place: torch.device
) -> None:
    found = [run_lora(method, torch.float32, place, stored) for stored in (True, False)]
    assert compare_named(*found) < 1e-4
