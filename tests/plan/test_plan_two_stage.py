"""The two-stage proposal on arms whose sums can be done in the head."""

from __future__ import annotations

import pytest

from luthier.plan.choice.two_stage import PilotArm, compute_detectable, propose_two_stage
from luthier.plan.figure import Figure


def arm(title: str, hours: float, expected: float | None = None) -> PilotArm:
    """An arm on a machine of one dollar an hour: hours are dollars."""
    return PilotArm(title, "1 × X", hours, 0.0, 1.0, expected)


def test_the_longest_pilot_that_leaves_three_full_seeds_is_taken() -> None:
    # Two arms of 12: a third is 8 for both, three full runs are 36. 44 buys exactly that.
    plan = propose_two_stage([arm("a", 12), arm("b", 12)], budget_usd=44)
    assert plan is not None
    assert plan.share == pytest.approx(1 / 3)
    assert (plan.pilot_usd, plan.seeds, plan.full_usd) == (8, 3, 36)
    assert plan.pilot_usd + plan.full_usd <= plan.budget_usd


def test_one_dollar_less_shortens_the_pilot_and_keeps_the_seeds() -> None:
    plan = propose_two_stage([arm("a", 12), arm("b", 12)], budget_usd=43)
    assert plan is not None
    assert plan.share == pytest.approx(1 / 4)
    assert (plan.pilot_usd, plan.seeds) == (6, 3)


def test_full_runs_are_counted_for_the_dearest_arm_that_may_lead() -> None:
    # Pilot a third of 3 + 30: 11. Three seeds of the dear arm are 90.
    plan = propose_two_stage([arm("cheap", 3), arm("dear", 30)], budget_usd=101)
    assert plan is not None
    assert [item.title for item in plan.arms] == ["cheap", "dear"]
    assert (plan.pilot_usd, plan.seeds, plan.full_usd) == (11, 3, 90)


def test_the_dearest_arms_are_left_out_before_the_seeds_are() -> None:
    plan = propose_two_stage([arm("a", 10), arm("b", 10), arm("full", 100)], budget_usd=50)
    assert plan is not None
    assert [item.title for item in plan.arms] == ["a", "b"]
    assert [item.title for item in plan.left_out] == ["full"]
    assert "dear" in plan.left_out[0].reason
    assert plan.seeds >= 3


def test_where_three_seeds_are_too_dear_one_has_to_do() -> None:
    plan = propose_two_stage([arm("a", 10), arm("b", 10)], budget_usd=17)
    assert plan is not None
    assert plan.seeds == 1
    assert plan.share == pytest.approx(1 / 3)


def test_a_budget_below_a_pilot_and_one_full_run_gives_no_proposal() -> None:
    assert propose_two_stage([arm("a", 10), arm("b", 10)], budget_usd=10) is None
    assert propose_two_stage([arm("a", 1)], budget_usd=1000) is None


def test_loading_and_evaluation_do_not_shrink_with_the_pilot() -> None:
    slow = PilotArm("a", "1 × X", 8.0, 2.0, 1.0)
    assert slow.hours() == 10.0
    assert slow.hours(0.25) == 4.0
    assert slow.usd(0.25) == 4.0


def test_more_money_never_buys_more_than_five_seeds() -> None:
    plan = propose_two_stage([arm("a", 1), arm("b", 1)], budget_usd=1000)
    assert plan is not None
    assert plan.seeds == 5


def test_the_deadline_says_how_many_machines_run_side_by_side() -> None:
    # A third of 12 twice is 8 hours, five full runs are 60: 68 hours on one machine.
    arms = [arm("a", 12), arm("b", 12)]
    one = propose_two_stage(arms, budget_usd=1000, deadline_hours=68)
    assert one is not None
    assert one.machines == 1
    # Two: 4 + 3 rounds of 12 = 40. Three: 4 + 2 rounds = 28. Five: 4 + 12 = 16.
    for deadline, machines in ((40, 2), (28, 3), (16, 5)):
        plan = propose_two_stage(arms, budget_usd=1000, deadline_hours=deadline)
        assert plan is not None
        assert plan.machines == machines


def test_an_arm_that_cannot_end_in_time_is_left_out() -> None:
    arms = [arm("a", 5), arm("b", 5), arm("slow", 30)]
    plan = propose_two_stage(arms, budget_usd=1000, deadline_hours=20)
    assert plan is not None
    assert [(out.title, out.reason) for out in plan.left_out] == [
        ("slow", "too slow for the deadline")
    ]


def test_detectable_difference_is_that_of_one_seed_paired_and_corrected() -> None:
    # McNemar's normal form with correlation ½: (z₁₋₀.₀₅/₂ₘ + z₀.₈) · √(2p(1−p)·½ / n), m = 8:
    # (2.734 + 0.842) · √(0.478 · 0.522 / 1319) = 0.0492; the exact test needs a little more.
    found = compute_detectable(1319, 8, Figure(0.478, "given"))
    assert found is not None
    assert found.value == pytest.approx(0.0492, rel=0.03)
    alone = compute_detectable(1319, 1, Figure(0.478, "given"))
    assert alone is not None
    assert alone.value < found.value


def test_arms_whose_known_scores_are_too_near_are_named() -> None:
    arms = [arm("a", 5, 0.80), arm("b", 5, 0.81), arm("c", 5, 0.50), arm("unknown", 5)]
    plan = propose_two_stage(arms, 1000, test_examples=500, rate=Figure(0.8, "given"))
    assert plan is not None
    assert plan.close == (("b", "a"),)


def test_without_test_examples_nothing_is_said_of_what_can_be_told_apart() -> None:
    plan = propose_two_stage([arm("a", 5, 0.80), arm("b", 5, 0.81)], 1000)
    assert plan is not None
    assert plan.detectable is None
    assert plan.close == ()
