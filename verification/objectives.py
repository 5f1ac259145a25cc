"""DPO, IPO, SimPO and ORPO beside TRL's own losses: one optimizer step of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor

from luthier.data.pair_batches import pack_pairs
from luthier.data.pairs import TokenizedPair
from luthier.models.packed import PackedModel
from luthier.objectives import OBJECTIVES
from luthier.objectives.dpo import compute_dpo_losses
from luthier.objectives.objective import count_totals
from luthier.objectives.settings import ObjectiveSettings
from verification import trl_losses
from verification.check import compare_named, largest, relative_error
from verification.pairs import build_exact_model, make_pairs, plain_sums

PAIRS = make_pairs()
REFERENCE_SEED = 1
BETA = {"dpo": 0.1, "ipo": 0.1, "simpo": 2.0, "orpo": 0.1}
FIGURES = {
    "rewards_chosen": "rewards/chosen",
    "rewards_rejected": "rewards/rejected",
    "rewards_accuracy": "rewards/accuracies",
    "rewards_margin": "rewards/margins",
    "logp_chosen": "logps/chosen",
    "logp_rejected": "logps/rejected",
}


def reference_S2() -> Tensor:
    """What another random model says."""
    with torch.no_grad():
        return plain_sums(build_exact_model("qwen2", seed=REFERENCE_SEED), PAIRS)


def choose_settings(method: str, **changes: Any) -> ObjectiveSettings:
    """With a reference that is another random model: its weights within the block."""
    return ObjectiveSettings(beta=BETA[method], **changes)


@contextlib.contextmanager
def other_weights(packed: PackedModel) -> Generator[None]:
    own = {name: value.clone() for name, value in packed.causal.state_dict().items()}
    packed.causal.load_state_dict(build_exact_model("qwen2", seed=REFERENCE_SEED).state_dict())
    try:
        yield
    finally:
        packed.causal.load_state_dict(own)


def run_ours(
    method: str,
    pairs: list[TokenizedPair],
    micro_batches: int = 1,
    shared: bool = True,
    **changes: Any,
) -> tuple[Tensor, dict[str, Tensor], dict[str, float]]:
    """Loss, gradients and figures of one optimizer step."""
    packed = PackedModel(build_exact_model("qwen2"))
    if method in ("dpo", "ipo"):
        changes["reference_model"] = lambda: other_weights(packed)
    objective = OBJECTIVES[method](choose_settings(method, **changes))
    totals, size = count_totals(pairs), len(pairs) // micro_batches
    loss, figures = torch.zeros((), dtype=torch.float64), dict[str, float]()
    for first in range(0, len(pairs), size):
        batch = pack_pairs(pairs[first : first + size], shared=shared, prompt_labels=True)
        share = objective(packed, batch, totals)
        share.loss.backward()
        loss += share.loss.detach()
        for name, value in share.figures.items():
            figures[name] = figures.get(name, 0.0) + float(value)
    gradients = {n: p.grad for n, p in packed.causal.named_parameters() if p.grad is not None}
    return loss, gradients, figures


def run_trl(method: str) -> tuple[Tensor, dict[str, Tensor], dict[str, float]]:
    """TRL's loss, gradients and metrics of the same pairs."""
    causal = build_exact_model("qwen2")
    calls: dict[str, Callable[[], tuple[Tensor, dict[str, float]]]] = {
        "dpo": lambda: trl_losses.trl_dpo(causal, PAIRS, reference_S2(), "sigmoid", BETA["dpo"]),
        "ipo": lambda: trl_losses.trl_dpo(causal, PAIRS, reference_S2(), "ipo", BETA["ipo"]),
        "simpo": lambda: trl_losses.trl_simpo(causal, PAIRS, BETA["simpo"], 1.0),
        "orpo": lambda: trl_losses.trl_orpo(causal, PAIRS, BETA["orpo"]),
    }
    with trl_losses.keeping_float64():
        loss, metrics = calls[method]()
        loss.backward()
    gradients = {n: p.grad for n, p in causal.named_parameters() if p.grad is not None}
    return loss.detach(), gradients, metrics


def compare_with_trl(method: str) -> float:
    """Loss, gradients and logged figures, with the prompt shared and not."""
    expected_loss, expected_gradients, metrics = run_trl(method)
    differences: list[float] = []
    for shared in (True, False):
        for micro_batches in (1, 2):
            loss, gradients, figures = run_ours(method, PAIRS, micro_batches, shared=shared)
            differences += [
                relative_error(loss, expected_loss),
                compare_named(gradients, expected_gradients),
                *(_compare_numbers(figures[o], metrics[t]) for o, t in FIGURES.items()),
            ]
    return largest(differences)


def compare_smoothed_dpo() -> float:
    """DPO with a share of the labels held to be wrong, against TRL's sigmoid loss."""
    torch.manual_seed(0)
    log_ratios_S2 = 20 * torch.randn(50, 2, dtype=torch.float64)
    differences: list[float] = []
    for smoothing in (0.0, 0.2):
        with trl_losses.keeping_float64():
            expected = trl_losses.trl_sigmoid(log_ratios_S2, 0.1, smoothing)
        found = compute_dpo_losses(log_ratios_S2, 0.1, smoothing)
        differences.append(relative_error(found, expected))
    return largest(differences)


def _compare_numbers(found: float, expected: float) -> float:
    return abs(found - expected) / max(abs(expected), 1e-300)
