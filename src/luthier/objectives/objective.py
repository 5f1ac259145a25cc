"""What an objective is: a function of model, batch and the totals of the whole optimizer step.

An optimizer step may be spread over micro-batches and processes of unequal size. Each objective
divides by the step's totals itself, so that the shares of all its batches add up to the loss of the
step as if it had been one batch: a mean of means would weigh short batches too much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from luthier.data.pair_batches import ScoredPair, unscored
from luthier.data.pairs import TokenizedPair
from luthier.models.packed import PackedModel


class Countable(Protocol):
    """An example as far as the totals see it."""

    @property
    def supervised_tokens(self) -> int: ...


class StepTotals(NamedTuple):
    """What the loss of one optimizer step is a mean over, all micro-batches and processes.

    The last two count tokens of preference pairs, each prompt once.
    """

    supervised_tokens: int
    examples: int
    prompt_tokens: int = 0
    chosen_tokens: int = 0


class LossShare(NamedTuple):
    """One batch's part of the step's loss.

    Attributes:
        loss: scalar; the shares of a step add up to its loss.
        figures: further scalars that add up in the same way, to be logged beside the loss.
    """

    loss: Tensor
    figures: dict[str, Tensor]


LOSS = "loss"

Objective = Callable[[PackedModel, Any, StepTotals], LossShare]


def count_totals(examples: Iterable[Countable]) -> StepTotals:
    """The totals of an optimizer step, or of a validation set, made of these examples."""
    listed = list(examples)
    pairs = [unscored(each) for each in listed if isinstance(each, TokenizedPair | ScoredPair)]
    return StepTotals(
        sum(example.supervised_tokens for example in listed),
        len(listed),
        sum(len(pair.prompt_ids) for pair in pairs),
        sum(len(pair.chosen_ids) for pair in pairs),
    )


def add_share(sums: dict[str, Tensor], share: LossShare, counts: bool = True) -> None:
    """Add a batch's loss, under LOSS, and its figures to `sums`; zeros where it does not count."""
    for name, value in {LOSS: share.loss, **share.figures}.items():
        accurate = value.detach().to(torch.promote_types(value.dtype, torch.float32)) * counts
        sums[name] = sums[name] + accurate if name in sums else accurate
