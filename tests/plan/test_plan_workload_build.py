"""From a recipe and a token count to micro-batches and steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from luthier.data.batches import BatchPlan
from luthier.plan.amounts.tokens import TokenCount
from luthier.plan.figure import Figure
from luthier.plan.model.model_config import read_facts
from luthier.plan.work.workload import Workload
from luthier.plan.work.workload_build import build_workload
from luthier.recipe.load import parse_recipe


def build(counts: TokenCount, processes: int = 1, **keys: Any) -> Workload:
    values = {
        "base_model": "embedded",
        "learning_rate": 1e-3,
        "datasets": [{"path": "rows.jsonl"}],
        **keys,
    }
    facts = read_facts("embedded")
    return build_workload(parse_recipe(values).recipe, facts, counts, processes=processes)


def count(examples: int, tokens: float, lengths: tuple[int, ...] = ()) -> TokenCount:
    longest = max(lengths, default=round(2 * tokens))
    return TokenCount(
        Figure(examples, "given"),
        Figure(tokens, "given"),
        Figure(longest, "computed"),
        Figure(0.5, "assumed"),
        lengths=lengths,
    )


def test_document_arithmetic_samples_times_tokens_times_epochs() -> None:
    workload = build(count(1000, 512), num_epochs=3, micro_batch_size=2)
    assert workload.tokens.value == 1000 * 512 * 3
    assert workload.tokens.basis == "computed"
    assert workload.optimizer_steps.value == 1500
    assert workload.mean_tokens.value == 1024
    assert workload.longest_tokens.value == 2 * 1024


def test_a_micro_batch_holds_no_more_than_there_is() -> None:
    workload = build(count(100, 50, tuple(range(1, 101))), micro_batch_size=10**8)
    assert workload.longest_tokens.value <= 100 * 100


def test_accumulation_and_processes_share_a_step() -> None:
    workload = build(
        count(1000, 100), processes=2, micro_batch_size=4, gradient_accumulation_steps=8
    )
    # 250 micro-batches, 16 in a step.
    assert workload.optimizer_steps.value == 16


def test_max_steps_wins_over_epochs() -> None:
    workload = build(count(100, 50), max_steps=30, num_epochs=9, micro_batch_size=5)
    assert workload.optimizer_steps.value == 30
    # 20 steps are an epoch of 5,000 tokens.
    assert workload.tokens.value == pytest.approx(7500)


@pytest.mark.parametrize(("mean", "spread", "budget"), [(180, 20, 1024), (200, 120, 2048)])
def test_packed_steps_agree_with_training_s_own_packing(
    mean: int, spread: int, budget: int
) -> None:
    draw = np.random.default_rng(1)
    lengths = tuple(np.clip(draw.normal(mean, spread, 2000), 10, budget).astype(int).tolist())
    plan = BatchPlan(
        lengths,
        micro_batch_size=1,
        accumulation=1,
        seed=0,
        sequence_len=budget,
        sample_packing=True,
    )
    counts = count(2000, sum(lengths) / 2000, lengths[::10])
    workload = build(counts, sample_packing=True, sequence_len=budget)
    assert workload.optimizer_steps.value == pytest.approx(plan.steps_per_epoch, rel=0.03)
    assert workload.longest_tokens.value == budget


def test_the_largest_micro_batch_lies_between_the_longest_example_and_the_bound() -> None:
    lengths = (*([100] * 95), *([1000] * 5))
    workload = build(count(400, 145, lengths), micro_batch_size=4)
    plan = BatchPlan(lengths * 4, micro_batch_size=4, accumulation=1, seed=0, sequence_len=2048)
    drawn = sum((lengths * 4)[place] for place in plan.longest_micro_batch())
    assert 1300 <= workload.longest_tokens.value <= 4000
    assert workload.longest_tokens.value == pytest.approx(drawn, abs=900)


def test_validation_tokens_follow_the_held_out_examples() -> None:
    counts = count(100, 50)._replace(validation_examples=Figure(20, "given"))
    assert build(counts).validation_tokens.value == 1000
