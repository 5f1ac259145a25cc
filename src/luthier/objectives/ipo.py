"""Identity preference optimisation (Azar et al. 2023, equation 17).

    Δ = log π(chosen)/π_ref(chosen) − log π(rejected)/π_ref(rejected)
    L = (Δ − 1/(2β))²                       β is the paper's τ

The equation sums log-ratios over an answer's tokens, so that the target 1/(2β) means another thing
for long answers than for short ones. The authors' experiments took the mean per token, as TRL
reports from them and computes; it is the default here. `sum` is the equation to the letter.
"""

from __future__ import annotations

from torch import Tensor

from luthier.data.pair_batches import PairBatch
from luthier.models.packed import PackedModel
from luthier.objectives.answers import compute_answer_log_probs, find_reference, reward_figures
from luthier.objectives.objective import LossShare, Objective, StepTotals
from luthier.objectives.settings import ObjectiveSettings


def compute_ipo_losses(log_ratios_S2: Tensor, beta: float) -> Tensor:
    """Each pair's loss, (S,), from log π − log π_ref of its answers."""
    return (log_ratios_S2[:, 0] - log_ratios_S2[:, 1] - 1 / (2 * beta)).square()


def build_ipo(settings: ObjectiveSettings) -> Objective:
    """Mean over the step's pairs."""

    def ipo(model: PackedModel, batch: PairBatch, totals: StepTotals) -> LossShare:
        reference_S2 = find_reference(model, batch, settings.reference_model)
        policy = compute_answer_log_probs(model, batch)
        log_ratios_S2 = policy.sums_S2 - reference_S2
        compared_S2 = log_ratios_S2
        if settings.ipo_log_ratio == "mean":
            compared_S2 = log_ratios_S2 / batch.answer_tokens_S2
        losses_S = compute_ipo_losses(compared_S2, settings.beta)
        figures = reward_figures(settings.beta * log_ratios_S2, policy.sums_S2, totals)
        return LossShare(losses_S.sum() / totals.examples, figures)

    return ipo
