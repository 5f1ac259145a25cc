"""Padding-free batches and their order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from luthier.data.batches import BatchPlan, TokenizedExample, pack


def example(ids: list[int], mask: list[int]) -> TokenizedExample:
    return TokenizedExample("x", np.array(ids, dtype=np.int32), np.array(mask, dtype=bool))


def plan(lengths: list[int], **changes: Any) -> BatchPlan:
    settings: dict[str, Any] = {
        "micro_batch_size": 2,
        "accumulation": 2,
        "seed": 1,
        "sequence_len": 10,
    }
    return BatchPlan(lengths, **{**settings, **changes})


def epoch(a_plan: BatchPlan, number: int) -> list[list[int]]:
    first = number * a_plan.steps_per_epoch
    steps = range(first, first + a_plan.steps_per_epoch)
    return [batch for step in steps for batch in a_plan.micro_batches_of_step(step)]


def test_labels_and_positions_of_two_examples_laid_end_to_end() -> None:
    batch = pack([example([5, 6, 7], [0, 0, 1]), example([8, 9], [0, 1])])
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.label_positions.tolist() == [1, 3]  # 6 predicts 7, 8 predicts 9
    assert batch.targets.tolist() == [7, 9]
    assert batch.lengths == (3, 2)


def test_no_example_predicts_the_first_token_of_the_next() -> None:
    batch = pack([example([5, 6], [1, 1]), example([7, 8], [1, 1])])
    assert batch.label_positions.tolist() == [0, 2]
    assert batch.targets.tolist() == [6, 8]


def test_supervised_tokens_leave_out_the_first() -> None:
    assert example([5, 6, 7], [1, 1, 1]).supervised_tokens == 2


@pytest.mark.parametrize("count", [1, 7, 8])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("packing", [False, True])
def test_every_example_comes_once_an_epoch(count: int, grouped: bool, packing: bool) -> None:
    lengths = [3 + number % 5 for number in range(count)]
    a_plan = plan(lengths, group_by_length=grouped, sample_packing=packing)
    for number in range(3):
        seen = sorted(index for batch in epoch(a_plan, number) for index in batch)
        assert seen == list(range(count))


def test_the_order_is_a_function_of_the_seed_and_changes_with_the_epoch() -> None:
    lengths = [1] * 20
    assert epoch(plan(lengths), 1) == epoch(plan(lengths), 1)
    assert epoch(plan(lengths), 0) != epoch(plan(lengths), 1)
    assert epoch(plan(lengths), 0) != epoch(plan(lengths, seed=2), 0)


def test_a_step_can_be_asked_for_without_the_steps_before_it() -> None:
    walked = plan([1] * 20)
    for step in range(9):
        walked.micro_batches_of_step(step)
    assert walked.micro_batches_of_step(9) == plan([1] * 20).micro_batches_of_step(9)


def test_seven_examples_make_two_steps_the_last_a_short_one() -> None:
    a_plan = plan([1] * 7)
    assert a_plan.steps_per_epoch == 2
    sizes = [[len(b) for b in a_plan.micro_batches_of_step(step)] for step in (0, 1)]
    assert sizes == [[2, 2], [2, 1]]


def test_packed_rows_keep_within_their_tokens_and_are_well_filled() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 100, 500).tolist()
    a_plan = plan(lengths, sample_packing=True, sequence_len=200, micro_batch_size=2)
    totals = [sum(lengths[i] for i in batch) for batch in epoch(a_plan, 0)]
    assert max(totals) <= 400
    assert sum(totals) / (400 * len(totals)) > 0.9


def test_group_by_length_puts_like_lengths_together() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 1000, 400).tolist()

    def spread(a_plan: BatchPlan) -> float:
        return float(np.mean([abs(lengths[b[0]] - lengths[b[-1]]) for b in epoch(a_plan, 0)]))

    assert spread(plan(lengths, group_by_length=True)) < 0.1 * spread(plan(lengths))


def test_the_longest_micro_batch_is_the_one_with_most_tokens() -> None:
    a_plan = plan([1, 1, 1, 50, 1, 1])
    assert 3 in a_plan.longest_micro_batch()
