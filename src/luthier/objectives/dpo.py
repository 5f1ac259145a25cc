"""Direct preference optimisation (Rafailov et al. 2023, equation 7).

    Δ = log π(chosen)/π_ref(chosen) − log π(rejected)/π_ref(rejected)
    L = −(1−ε)·log σ(β·Δ) − ε·log σ(−β·Δ)

ε > 0 holds a share of the pairs to be the wrong way round (conservative DPO, Mitchell 2023, as in
the authors' own code).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from luthier.data.pair_batches import PairBatch
from luthier.models.packed import PackedModel
from luthier.objectives.answers import compute_answer_log_probs, find_reference, reward_figures
from luthier.objectives.objective import LossShare, Objective, StepTotals
from luthier.objectives.settings import ObjectiveSettings


def compute_dpo_losses(log_ratios_S2: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Each pair's loss, (S,), from log π − log π_ref of its answers."""
    margin_S = beta * (log_ratios_S2[:, 0] - log_ratios_S2[:, 1])
    losses_S = -(1 - label_smoothing) * functional.logsigmoid(margin_S)
    if label_smoothing:
        losses_S = losses_S - label_smoothing * functional.logsigmoid(-margin_S)
    return losses_S


def build_dpo(settings: ObjectiveSettings) -> Objective:
    """Mean over the step's pairs."""

    def dpo(model: PackedModel, batch: PairBatch, totals: StepTotals) -> LossShare:
        reference_S2 = find_reference(model, batch, settings.reference_model)
        policy = compute_answer_log_probs(model, batch)
        log_ratios_S2 = policy.sums_S2 - reference_S2
        losses_S = compute_dpo_losses(log_ratios_S2, settings.beta, settings.label_smoothing)
        figures = reward_figures(settings.beta * log_ratios_S2, policy.sums_S2, totals)
        return LossShare(losses_S.sum() / totals.examples, figures)

    return dpo
