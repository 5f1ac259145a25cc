"""A recipe, a model's facts and a token count → what the recipe asks of a machine."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from luthier.plan.amounts.tokens import TokenCount
from luthier.plan.figure import Basis, Figure, weakest
from luthier.plan.model.model_facts import ModelFacts
from luthier.plan.work.trainable import count_trainable
from luthier.plan.work.workload import Engine, Workload
from luthier.recipe.schema import Recipe

# Rows that are filled first fit, with eight of them open (data/batches.py), leave about this
# share of an average example empty; taken where no lengths are known to fill rows with.
EMPTY_SHARE_OF_AN_EXAMPLE = 0.2
OPEN_ROWS = 8
# Examples that rows are filled with to see how full they get.
MOST_FILLED = 3_000
# Micro-batches that are drawn to find the largest one: more hardly change it.
MOST_DRAWN = 4_000


class _MicroBatch(NamedTuple):
    mean_tokens: Figure
    longest_tokens: Figure
    per_epoch: float


def build_workload(
    recipe: Recipe,
    facts: ModelFacts,
    counts: TokenCount,
    engine: Engine = "luthier",
    processes: int = 1,
) -> Workload:
    """What one run of `recipe` asks of each device and in all.

    Args:
        processes: devices that each take micro-batches of their own.
    """
    batch = _fill_rows(recipe, counts) if recipe.sample_packing else _batch_examples(recipe, counts)
    steps_per_epoch = max(
        1, math.ceil(batch.per_epoch / (recipe.gradient_accumulation_steps * processes))
    )
    steps = recipe.max_steps or max(1, math.ceil(recipe.num_epochs * steps_per_epoch))
    epochs = recipe.num_epochs if recipe.max_steps is None else steps / steps_per_epoch
    per_epoch = counts.examples.value * counts.tokens_per_example.value
    basis = weakest(counts.examples, counts.tokens_per_example)
    return Workload(
        recipe=recipe,
        facts=facts,
        engine=engine,
        trainable=count_trainable(recipe, facts),
        longest_tokens=batch.longest_tokens,
        mean_tokens=batch.mean_tokens,
        supervised_share=counts.supervised_share,
        examples=counts.examples,
        tokens=Figure(per_epoch * epochs, basis, "examples × tokens × epochs"),
        optimizer_steps=Figure(steps, _basis_of_steps(recipe, counts), "micro-batches of an epoch"),
        example_tokens=counts.tokens_per_example,
        validation_tokens=Figure(
            counts.validation_examples.value * counts.tokens_per_example.value,
            weakest(counts.validation_examples, counts.tokens_per_example),
            "validation examples × tokens",
        ),
    )


def _basis_of_steps(recipe: Recipe, counts: TokenCount) -> Basis:
    if recipe.max_steps is not None:
        return "given"
    return weakest(counts.examples, Figure(0, "computed"))


def _batch_examples(recipe: Recipe, counts: TokenCount) -> _MicroBatch:
    """`micro_batch_size` examples laid end to end, or padded, which is bounded the same way."""
    # A batch holds no more than there is.
    size = min(recipe.micro_batch_size, max(1, math.ceil(counts.examples.value)))
    mean = counts.tokens_per_example
    per_epoch = math.ceil(counts.examples.value / size)
    return _MicroBatch(
        Figure(mean.value * size, weakest(mean, Figure(0, "computed")), "examples × mean tokens"),
        _largest_batch(counts, size, per_epoch, recipe),
        per_epoch,
    )


def _largest_batch(counts: TokenCount, size: int, batches: int, recipe: Recipe) -> Figure:
    """Tokens of the largest micro-batch: `size` of the longest, or less where lengths are known."""
    bound = counts.longest_tokens
    # A pair's row holds both answers, and may be longer than its longer conversation.
    bound = bound._replace(value=max(bound.value, *counts.lengths, 0))
    if not counts.lengths or size == 1 or recipe.group_by_length:
        return Figure(bound.value * size, bound.basis, f"{size} × the longest example")
    draw = np.random.default_rng(0)
    drawn = draw.choice(np.array(counts.lengths), (min(batches, MOST_DRAWN), size))
    largest = float(drawn.sum(1).max())
    return Figure(
        max(largest, bound.value),
        weakest(bound, Figure(0, "computed")),
        f"largest of {batches:,} micro-batches, drawn",
    )


def _fill_rows(recipe: Recipe, counts: TokenCount) -> _MicroBatch:
    """Rows filled with examples up to `micro_batch_size` × `sequence_len` tokens."""
    budget = recipe.micro_batch_size * recipe.sequence_len
    mean = counts.tokens_per_example
    tokens = counts.examples.value * mean.value
    if counts.lengths:
        filled = _fill_like_training(counts, budget)
    else:
        # One example a row where two do not fit.
        filled = budget - EMPTY_SHARE_OF_AN_EXAMPLE * mean.value
        filled = max(mean.value, filled) if mean.value * 2 <= budget else mean.value
    per_epoch = max(1, math.ceil(tokens / filled))
    basis = weakest(mean, Figure(0, "computed"))
    return _MicroBatch(
        Figure(tokens / per_epoch, basis, "rows filled with examples"),
        Figure(min(budget, tokens), "computed", "a full row"),
        per_epoch,
    )


def _fill_like_training(counts: TokenCount, budget: int) -> float:
    """Mean tokens of a row, each example put into the first open row that has room."""
    draw = np.random.default_rng(0)
    number = min(round(counts.examples.value), MOST_FILLED)
    lengths = draw.choice(np.array(counts.lengths), number)
    open_rows: list[int] = []
    rows = 0
    for length in lengths.tolist():
        place = next((i for i, used in enumerate(open_rows) if used + length <= budget), None)
        if place is not None:
            open_rows[place] += length
            continue
        open_rows.append(length)
        if len(open_rows) > OPEN_ROWS:
            open_rows.remove(max(open_rows[:OPEN_ROWS]))
            rows += 1
    return float(lengths.sum()) / (rows + len(open_rows))
