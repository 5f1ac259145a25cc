"""Chunked log-probabilities of labels against torch's log-softmax, in float64."""

from __future__ import annotations

import pytest
import torch
from tiny_models import relative_error
from torch import Tensor, nn

from luthier.objectives import log_probs
from luthier.objectives.log_probs import linear_log_probs

WIDTH, VOCABULARY = 6, 11


class Subclass(nn.Linear):
    """Not a plain linear layer, as far as the head can tell."""


def make(
    labels: int, kind: type[nn.Linear] = nn.Linear, *, bias: bool = True, frozen: bool = False
) -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    head = kind(WIDTH, VOCABULARY, bias=bias).double().requires_grad_(not frozen)
    hidden = (3 * torch.randn(labels, WIDTH)).double().requires_grad_()
    weights = torch.randn(labels, dtype=torch.float64)
    return head, hidden, torch.randint(VOCABULARY, (labels,)), weights


def collect(values: Tensor, weights: Tensor, hidden: Tensor, head: nn.Linear) -> list[Tensor]:
    """The values and every gradient of their weighted sum."""
    (values * weights).sum().backward()
    found = [values.detach(), hidden.grad, *(p.grad for p in head.parameters())]
    return [tensor for tensor in found if tensor is not None]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("kind", [nn.Linear, Subclass])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("labels", [1, 4, 5, 12, 13])  # around chunks of 4
def test_values_and_gradients_equal_torchs(
    labels: int, bias: bool, kind: type[nn.Linear], frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_probs, "compute_chunk_tokens", lambda _vocabulary: 4)
    head, hidden, target, weights = make(labels, kind, bias=bias, frozen=frozen)
    found = collect(linear_log_probs(head, hidden, target), weights, hidden, head)
    head, hidden, target, weights = make(labels, bias=bias, frozen=frozen)
    plain = head(hidden).log_softmax(-1).gather(1, target[:, None])[:, 0]
    expected = collect(plain, weights, hidden, head)
    assert len(found) == len(expected) == (2 if frozen else 4 if bias else 3)
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) < 1e-13


def test_gradcheck_accepts_both_ways_back() -> None:
    for frozen in (True, False):
        head, hidden, target, _ = make(5, frozen=frozen)
        assert torch.autograd.gradcheck(lambda h: linear_log_probs(head, h, target), hidden)  # noqa: B023


def test_logits_of_ten_thousand_do_not_overflow() -> None:
    head, hidden, target, _ = make(5, frozen=True)
    head, hidden = head.float(), hidden.detach().float().requires_grad_()
    with torch.no_grad():
        head.weight.mul_(1e4)
    found = linear_log_probs(head, hidden, target)
    found.sum().backward()
    expected = head(hidden).log_softmax(-1).gather(1, target[:, None])[:, 0]
    assert relative_error(found, expected) < 1e-6
    assert hidden.grad is not None
    assert torch.isfinite(hidden.grad).all()


def test_under_bfloat16_values_stay_in_float32_and_gradients_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_probs, "compute_chunk_tokens", lambda _vocabulary: 1)
    results: list[list[Tensor]] = []
    for dtype in (torch.float32, torch.float64):
        head, hidden, target, weights = make(500)
        head, hidden = head.to(dtype), hidden.detach().to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
            values = linear_log_probs(head, hidden, target)
        assert values.dtype == dtype
        results.append(collect(values, weights.to(dtype), hidden, head))
    for rough, exact in zip(*results, strict=True):
        assert relative_error(rough.double(), exact) < 0.02


def test_without_gradients_nothing_is_kept() -> None:
    head, hidden, target, _ = make(5)
    with torch.no_grad():
        assert not linear_log_probs(head, hidden, target).requires_grad
