"""Chunked cross-entropy against torch's, in float64."""

from __future__ import annotations

import pytest
import torch
from tiny_models import relative_error
from torch import Tensor, nn
from torch.nn import functional

from luthier.objectives import cross_entropy
from luthier.objectives.cross_entropy import compute_chunk_tokens, sum_linear_cross_entropy

WIDTH, VOCABULARY = 6, 11


def make(tokens: int, *, bias: bool, dtype: torch.dtype = torch.float64):
    torch.manual_seed(0)
    head = nn.Linear(WIDTH, VOCABULARY, bias=bias).to(dtype)
    hidden = (3 * torch.randn(tokens, WIDTH)).to(dtype).requires_grad_()
    return head, hidden, torch.randint(VOCABULARY, (tokens,))


def results(loss: Tensor, hidden: Tensor, head: nn.Linear, factor: float) -> list[Tensor]:
    (loss * factor).backward()
    found = [loss.detach(), hidden.grad, head.weight.grad]
    found += [] if head.bias is None else [head.bias.grad]
    return [tensor for tensor in found if tensor is not None]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tokens", [1, 4, 5, 12, 13])  # around chunks of 4
def test_loss_and_gradients_equal_torchs(
    tokens: int, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "compute_chunk_tokens", lambda _vocabulary: 4)
    head, hidden, target = make(tokens, bias=bias)
    found = results(sum_linear_cross_entropy(head, hidden, target), hidden, head, 0.37)
    head, hidden, target = make(tokens, bias=bias)
    plain = functional.cross_entropy(head(hidden), target, reduction="sum")
    expected = results(plain, hidden, head, 0.37)
    assert len(found) == len(expected) == (4 if bias else 3)
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) < 1e-13


def test_a_head_that_is_not_a_plain_linear_layer_gives_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cross_entropy, "compute_chunk_tokens", lambda _vocabulary: 4)

    class Subclass(nn.Linear):
        pass

    head, hidden, target = make(9, bias=True)
    other = Subclass(WIDTH, VOCABULARY).double()
    other.load_state_dict(head.state_dict())
    expected = results(sum_linear_cross_entropy(head, hidden, target), hidden, head, 1.0)
    hidden = hidden.detach().clone().requires_grad_()
    found = results(sum_linear_cross_entropy(other, hidden, target), hidden, other, 1.0)
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) < 1e-13


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    head, hidden, target = make(5, bias=False)
    nn.init.zeros_(head.weight)
    loss = sum_linear_cross_entropy(head, hidden, target)
    assert float(loss.detach()) == pytest.approx(5 * torch.tensor(11.0).log().item())


def test_logits_of_ten_thousand_do_not_overflow() -> None:
    head, hidden, target = make(5, bias=False, dtype=torch.float32)
    with torch.no_grad():
        head.weight.mul_(1e4)
    loss = sum_linear_cross_entropy(head, hidden, target)
    expected = functional.cross_entropy(head(hidden), target, reduction="sum")
    assert torch.isfinite(loss)
    assert relative_error(loss, expected) < 1e-6


def test_a_frozen_head_gets_no_gradient() -> None:
    head, hidden, target = make(5, bias=True)
    head.requires_grad_(False)
    sum_linear_cross_entropy(head, hidden, target).backward()
    assert head.weight.grad is None
    assert hidden.grad is not None


def test_under_bfloat16_the_loss_and_the_weight_gradient_stay_close_to_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Many chunks: a gradient summed up in bfloat16 would lose whatever is 256 times smaller.
    monkeypatch.setattr(cross_entropy, "compute_chunk_tokens", lambda _vocabulary: 1)
    head, hidden, target = make(2000, bias=True, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(sum_linear_cross_entropy(head, hidden, target), hidden, head, 1 / 2000)
    assert found[2].dtype == torch.float32
    exact_head, exact_hidden, target = make(2000, bias=True)
    exact_head.load_state_dict({k: v.double() for k, v in head.state_dict().items()})
    exact_hidden = hidden.detach().double().requires_grad_()
    plain = functional.cross_entropy(exact_head(exact_hidden), target, reduction="sum")
    expected = results(plain, exact_hidden, exact_head, 1 / 2000)
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours.double(), theirs) < 0.01


def test_a_chunk_of_logits_never_exceeds_its_bound() -> None:
    assert compute_chunk_tokens(4096) * 4096 <= cross_entropy.CHUNK_LOGITS
    assert compute_chunk_tokens(151_936) * 151_936 <= cross_entropy.CHUNK_LOGITS
    assert compute_chunk_tokens(1_000_000) == 16  # never so few that the products become slow
