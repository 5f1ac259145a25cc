"""What a model says to the answers of preference pairs, and the figures that all methods log.

Shapes: `S` pairs; the last axis of `…_S2` is (chosen, rejected).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

from luthier.data.pair_batches import PairBatch
from luthier.models.packed import PackedModel
from luthier.objectives.log_probs import compute_label_log_probs
from luthier.objectives.objective import StepTotals

ReferenceModel = Callable[[], AbstractContextManager[object]]
"""Makes a block within which the model answers as the reference does (its adapter is off)."""


class AnswerLogProbs(NamedTuple):
    """In nats, float32 or wider.

    Attributes:
        sums_S2: log p(answer | prompt), summed over the answer's tokens.
        means_S2: the same per token.
        prompt: log p of all prompts' tokens after their first, where they are labelled; a scalar.
    """

    sums_S2: Tensor
    means_S2: Tensor
    prompt: Tensor


def compute_answer_log_probs(model: PackedModel, batch: PairBatch) -> AnswerLogProbs:
    log_prob_N = compute_label_log_probs(model, batch.row, batch.branches)
    # One sum an answer, not index_add: that adds in no fixed order on a GPU.
    of_answers = log_prob_N.index_select(0, batch.answer_labels).split(batch.answer_tokens)
    sums_S2 = torch.stack([of_answer.sum() for of_answer in of_answers]).unflatten(0, (-1, 2))
    prompt = log_prob_N.index_select(0, batch.prompt_labels).sum()
    return AnswerLogProbs(sums_S2, sums_S2 / batch.answer_tokens_S2, prompt)


def find_reference(
    model: PackedModel, batch: PairBatch, reference_model: ReferenceModel | None
) -> Tensor:
    """The reference's log p(answer | prompt), (S, 2): the batch's own, or computed now.

    Computed without gradients, dropout and noise, so that it is the same at every step.
    """
    if batch.reference_S2 is not None:
        return batch.reference_S2
    assert reference_model is not None, "no stored reference log-probabilities and no reference"
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), reference_model():
            return compute_answer_log_probs(model, batch).sums_S2
    finally:
        model.train(training)


@torch.no_grad()
def reward_figures(rewards_S2: Tensor, logps_S2: Tensor, totals: StepTotals) -> dict[str, Tensor]:
    """The batch's share of the step's means: rewards, how often and how far chosen leads, log p."""
    chosen_S, rejected_S = rewards_S2.unbind(1)
    figures = {
        "rewards_chosen": chosen_S,
        "rewards_rejected": rejected_S,
        "rewards_accuracy": (chosen_S > rejected_S).to(chosen_S.dtype),
        "rewards_margin": chosen_S - rejected_S,
        "logp_chosen": logps_S2[:, 0],
        "logp_rejected": logps_S2[:, 1],
    }
    return {name: value_S.sum() / totals.examples for name, value_S in figures.items()}
