"""Odds-ratio preference optimisation (Hong et al. 2024, equations 6 and 7): no reference model.

    log p(y) = mean log π(y)                per token of the answer
    log odds(y) = log p(y) − log(1 − p(y))
    L = NLL + β · (−log σ(log odds(chosen) − log odds(rejected)))

The mean, not the sum: the odds of a whole answer are those of its probability, too small to differ
from it. NLL is the chosen conversation's, prompt and answer, as in the authors' code (the paper's
text has the answer alone): a mean over the tokens of the whole optimizer step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from luthier.data.pair_batches import PairBatch
from luthier.models.packed import PackedModel
from luthier.objectives.answers import compute_answer_log_probs, reward_figures
from luthier.objectives.objective import LossShare, Objective, StepTotals
from luthier.objectives.settings import LikelihoodTokens, ObjectiveSettings


def log1mexp(x: Tensor) -> Tensor:
    """log(1 − eˣ) for x < 0, exact near 0 and far from it (Mächler 2012, equation 7).

    At 0, where an answer is certain, x counts as the largest number below it: its odds stay finite,
    and so does the gradient.
    """
    below = x.clamp(max=-torch.finfo(x.dtype).tiny)
    near = below > -math.log(2)
    # Each side is given a harmless number where the other is taken: an infinity there would turn
    # the gradient into NaN.
    nearby = torch.where(near, below, -1.0)
    far = torch.where(near, -1.0, below)
    return torch.where(near, torch.log(-torch.expm1(nearby)), torch.log1p(-torch.exp(far)))


def compute_odds_ratio_losses(mean_logps_S2: Tensor) -> Tensor:
    """−log σ(log odds ratio) of each pair, (S,), from log π per token of its answers."""
    log_odds_S2 = mean_logps_S2 - log1mexp(mean_logps_S2)
    return -functional.logsigmoid(log_odds_S2[:, 0] - log_odds_S2[:, 1])


def count_likelihood_tokens(totals: StepTotals, tokens: LikelihoodTokens) -> int:
    """What NLL is a mean over; the first token of a prompt has no predecessor to predict it."""
    if tokens == "response":
        return totals.chosen_tokens
    return totals.prompt_tokens + totals.chosen_tokens - totals.examples


def build_orpo(settings: ObjectiveSettings) -> Objective:
    """NLL per token of the step + β · mean over its pairs."""

    def orpo(model: PackedModel, batch: PairBatch, totals: StepTotals) -> LossShare:
        answers = compute_answer_log_probs(model, batch)
        log_prob = answers.sums_S2[:, 0].sum()
        if settings.orpo_nll == "prompt_and_response":
            log_prob = log_prob + answers.prompt
        nll = -log_prob / count_likelihood_tokens(totals, settings.orpo_nll)
        odds_ratio = compute_odds_ratio_losses(answers.means_S2).sum() / totals.examples
        figures = {
            "nll": nll.detach(),
            "odds_ratio_loss": odds_ratio.detach(),
            **reward_figures(settings.beta * answers.means_S2, answers.means_S2, totals),
        }
        return LossShare(nll + settings.beta * odds_ratio, figures)

    return orpo
