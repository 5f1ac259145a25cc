"""Rows that no other row beats, on choices small enough to read."""

from __future__ import annotations

import pytest

from luthier.plan.choice.pareto import Outcome, find_pareto


def test_of_two_machines_for_one_method_the_slower_and_dearer_is_beaten() -> None:
    rows = [Outcome("lora", 2.0, 8.0), Outcome("lora", 3.0, 9.0)]
    assert find_pareto(rows) == (True, False)


def test_a_faster_and_a_cheaper_machine_both_stay() -> None:
    rows = [Outcome("lora", 2.0, 12.0), Outcome("lora", 6.0, 9.0)]
    assert find_pareto(rows) == (True, True)


def test_a_cheaper_method_does_not_beat_one_whose_quality_is_unknown() -> None:
    rows = [Outcome("lora", 1.0, 1.0, 0.9, "accuracy"), Outcome("full", 5.0, 50.0)]
    assert find_pareto(rows) == (True, True)


def test_scores_on_different_scales_are_not_held_against_one_another() -> None:
    rows = [Outcome("lora", 1.0, 1.0, 0.9, "accuracy"), Outcome("full", 5.0, 50.0, 0.2, "loss")]
    assert find_pareto(rows) == (True, True)


def test_a_better_score_pays_for_a_dearer_row() -> None:
    rows = [Outcome("lora", 1.0, 1.0, 0.80, "a"), Outcome("full", 5.0, 50.0, 0.90, "a")]
    assert find_pareto(rows) == (True, True)


def test_a_lead_within_the_spread_of_re_runs_pays_for_nothing() -> None:
    rows = [
        Outcome("lora", 1.0, 1.0, 0.478, "a", spread=0.028),
        Outcome("rslora", 1.1, 1.1, 0.500, "a", spread=0.028),
        Outcome("dora", 1.2, 1.2, 0.513, "a", spread=0.028),
    ]
    assert find_pareto(rows) == (True, False, True)


def test_only_rows_that_stay_beat_others() -> None:
    # 0.45 stands for 0.47, and 0.47 would for 0.49; the lead of 0.49 over 0.45 is real.
    rows = [
        Outcome("a", 1.0, 1.0, 0.45, "s", spread=0.03),
        Outcome("b", 2.0, 2.0, 0.47, "s", spread=0.03),
        Outcome("c", 3.0, 3.0, 0.49, "s", spread=0.03),
    ]
    assert find_pareto(rows) == (True, False, True)


def test_of_equal_rows_all_stay() -> None:
    rows = [Outcome("lora", 1.0, 1.0, 0.5, "a"), Outcome("lora", 1.0, 1.0, 0.5, "a")]
    assert find_pareto(rows) == (True, True)


def test_at_equal_time_and_price_the_better_method_beats_the_worse() -> None:
    rows = [Outcome("worse", 1.0, 1.0, 0.5, "a"), Outcome("better", 1.0, 1.0, 0.6, "a")]
    assert find_pareto(rows) == (False, True)


def test_a_row_without_a_price_neither_beats_nor_is_beaten_by_one_with() -> None:
    rows = [Outcome("lora", 1.0, None), Outcome("lora", 2.0, 5.0), Outcome("lora", 3.0, None)]
    assert find_pareto(rows) == (True, True, False)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_of_the_rows_does_not_matter(order: tuple[int, ...]) -> None:
    rows = [Outcome("a", 1.0, 9.0), Outcome("a", 2.0, 5.0), Outcome("a", 3.0, 6.0)]
    marks = dict(zip(order, find_pareto([rows[index] for index in order]), strict=True))
    assert marks == {0: True, 1: True, 2: False}


def test_no_rows_give_no_marks() -> None:
    assert find_pareto([]) == ()
