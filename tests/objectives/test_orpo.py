"""log(1 − eˣ), near zero and far from it."""

from __future__ import annotations

import math

import pytest
import torch

from luthier.objectives.orpo import compute_odds_ratio_losses, log1mexp


@pytest.mark.parametrize("x", [-1e-30, -1e-12, -1e-6, -0.1, -0.69, -0.7, -1.0, -5.0, -50.0, -500.0])
def test_log1mexp_is_exact_in_float32_near_zero_and_far(x: float) -> None:
    x32 = torch.tensor(x, dtype=torch.float32)
    rounded = float(x32)
    # log(1 − eˣ) by the math library: expm1 and log1p, each where it is exact.
    expected = math.log(-math.expm1(rounded)) if rounded > -0.5 else math.log1p(-math.exp(rounded))
    assert float(log1mexp(x32)) == pytest.approx(expected, rel=2e-6, abs=1e-38)


@pytest.mark.parametrize("x", [0.0, -1e-30, -1e-6, -0.7, -100.0, -1e4])
def test_gradient_of_log1mexp_is_a_number(x: float) -> None:
    point = torch.tensor(x, requires_grad=True)
    log1mexp(point).backward()
    assert point.grad is not None
    assert torch.isfinite(point.grad)


def test_gradient_of_log1mexp_is_that_of_its_closed_form() -> None:
    point = torch.tensor([-1e-3, -0.5, -2.0], dtype=torch.float64, requires_grad=True)
    log1mexp(point).sum().backward()
    expected = -torch.exp(point) / (1 - torch.exp(point))
    assert point.grad is not None
    assert torch.allclose(point.grad, expected.detach(), rtol=1e-12)


def test_odds_ratio_loss_of_even_odds_and_of_three_to_one() -> None:
    # p = ¾ has odds 3, p = ¼ has odds ⅓: their ratio is 9, and −log σ(log 9) = log(10/9).
    log_probs = torch.log(torch.tensor([[0.5, 0.5], [0.75, 0.25]], dtype=torch.float64))
    expected = [math.log(2), math.log(10 / 9)]
    assert compute_odds_ratio_losses(log_probs).tolist() == pytest.approx(expected, rel=1e-12)


def test_a_certain_answer_has_a_finite_loss_and_gradient() -> None:
    means_S2 = torch.tensor([[0.0, -5.0], [-5.0, 0.0]], requires_grad=True)
    losses_S = compute_odds_ratio_losses(means_S2)
    losses_S.sum().backward()
    assert torch.isfinite(losses_S).all()
    assert means_S2.grad is not None
    assert torch.isfinite(means_S2.grad).all()
