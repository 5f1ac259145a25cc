"""Simple preference optimisation (Meng et al. 2024, equation 6): no reference model.

r(y) = β · mean log π(y)                per token of the answer
L = −log σ(r(chosen) − r(rejected) − γ)
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from luthier.data.pair_batches import PairBatch
from luthier.models.packed import PackedModel
from luthier.objectives.answers import compute_answer_log_probs, reward_figures
from luthier.objectives.objective import LossShare, Objective, StepTotals
from luthier.objectives.settings import ObjectiveSettings


def compute_simpo_losses(mean_logps_S2: Tensor, beta: float, gamma: float) -> Tensor:
    """Each pair's loss, (S,), from log π per token of its answers."""
    margin_S = beta * (mean_logps_S2[:, 0] - mean_logps_S2[:, 1])
    return -functional.logsigmoid(margin_S - gamma)


def build_simpo(settings: ObjectiveSettings) -> Objective:
    """Mean over the step's pairs."""

    def simpo(model: PackedModel, batch: PairBatch, totals: StepTotals) -> LossShare:
        means_S2 = compute_answer_log_probs(model, batch).means_S2
        losses_S = compute_simpo_losses(means_S2, settings.beta, settings.simpo_gamma)
        figures = reward_figures(settings.beta * means_S2, means_S2, totals)
        return LossShare(losses_S.sum() / totals.examples, figures)

    return simpo
