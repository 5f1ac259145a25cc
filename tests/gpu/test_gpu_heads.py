"""The fused head on the device beside torch's own loss in float64, over several chunks.

Shapes: `N` labels, `D` model width, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from gpu_cases import DTYPES, assert_no_further, list_errors
from torch import Tensor, nn
from torch.nn import functional

from luthier import device
from luthier.objectives import cross_entropy, log_probs
from luthier.objectives.cross_entropy import sum_linear_cross_entropy
from luthier.objectives.log_probs import linear_log_probs

pytestmark = pytest.mark.gpu

LABELS, WIDTH, VOCABULARY = 75, 64, 1000
Loss = Callable[[nn.Linear, Tensor, Tensor], Tensor]


def sum_plainly(head: nn.Linear, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
    logits_NV = head(hidden_ND)
    accurate = torch.promote_types(logits_NV.dtype, torch.float32)
    return functional.cross_entropy(logits_NV.to(accurate), target_N, reduction="sum")


def weigh(log_prob_N: Tensor) -> Tensor:
    """A scalar to which each label contributes otherwise."""
    return (log_prob_N * torch.linspace(-1, 1, LABELS).to(log_prob_N)).sum()


def weigh_ours(head: nn.Linear, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
    return weigh(linear_log_probs(head, hidden_ND, target_N))


def weigh_plainly(head: nn.Linear, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
    logits_NV = head(hidden_ND)
    accurate = torch.promote_types(logits_NV.dtype, torch.float32)
    return weigh(-functional.cross_entropy(logits_NV.to(accurate), target_N, reduction="none"))


def run(loss_of: Loss, dtype: torch.dtype, place: torch.device, trained: bool) -> dict[str, Tensor]:
    """Loss and gradients; in bfloat16 under autocast over float32 weights, as in a run."""
    torch.manual_seed(1)
    stored = torch.promote_types(dtype, torch.float32)
    head = nn.Linear(WIDTH, VOCABULARY).to(place, stored).requires_grad_(trained)
    hidden_ND = (3 * torch.randn(LABELS, WIDTH)).to(place, stored).requires_grad_()
    target_N = torch.randint(VOCABULARY, (LABELS,)).to(place)
    with torch.autocast(place.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = loss_of(head, hidden_ND, target_N)
    with device.fixed_order():
        (loss / 7).backward()
    found = {"loss": loss.detach(), "hidden": hidden_ND.grad, "weight": head.weight.grad}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("ours", "plain"), [(sum_linear_cross_entropy, sum_plainly), (weigh_ours, weigh_plainly)]
)
def test_loss_and_gradients_stray_from_float64_no_further_than_torchs(
    ours: Loss,
    plain: Loss,
    dtype: torch.dtype,
    trained: bool,
    place: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (cross_entropy, log_probs):
        monkeypatch.setattr(module, "compute_chunk_tokens", lambda _vocabulary: 16)
    device.prepare_process()
    exact = run(plain, torch.float64, torch.device("cpu"), trained)
    found, theirs = (run(loss_of, dtype, place, trained) for loss_of in (ours, plain))
    assert len(found) == (3 if trained else 2)
    assert_no_further(list_errors(found, exact), list_errors(theirs, exact), dtype)
    again = run(ours, dtype, place, trained)
    assert all(torch.equal(found[name], again[name]) for name in found)
