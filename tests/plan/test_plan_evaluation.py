from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from luthier.errors import PlanError
from luthier.plan.figure import Figure
from luthier.plan.outcome.arm_pairs import find_indistinguishable, group_indistinguishable
from luthier.plan.outcome.evaluation import plan_evaluation, warn_of_evaluation
from luthier.stats.power import describe_power

# Four ablations of one published table, CIC accuracy on 500 test briefings, and their baselines.
NEFTUNE = {"0": 0.821, "3": 0.836, "5": 0.857, "10": 0.842, "15": 0.828}
GALORE = {"64": 0.847, "128": 0.882, "256": 0.889, "512": 0.891}
COMPONENTS = {
    "lora": 0.764,
    "dora": 0.821,
    "rslora": 0.772,
    "loraplus": 0.789,
    "neftune": 0.793,
    "dora-rslora": 0.834,
    "dora-rslora-loraplus": 0.848,
    "all": 0.857,
}
METHODS = {
    "base": 0.452,
    "lora": 0.724,
    "qlora": 0.719,
    "dora-neftune": 0.857,
    "galore": 0.882,
    "relora": 0.841,
    "orpo": 0.861,
    "full": 0.893,
}
MISSION = Path(__file__).parents[3] / "shared" / "mission"


def test_a_task_is_planned_with_the_figures_of_luthier_power():
    (plan,) = plan_evaluation({"elle": 500}, 8, 1, expected_rate=Figure(0.857, "given"))
    report = describe_power(500, 0.857, arms=8, correlation=0.5)
    unpaired, paired = report.outlooks
    assert plan.comparisons == 7
    assert plan.examples == (500, "given", "")
    for figure, expected in (
        (plan.detectable_difference, paired.first.detectable),
        (plan.paired, paired.alone.detectable),
        (plan.unpaired, unpaired.alone.detectable),
        (plan.unpaired_holm, unpaired.first.detectable),
    ):
        assert figure is not None
        assert figure.value == expected


def test_what_rests_on_an_assumption_says_so():
    given = Figure(0.857, "given")
    (plan,) = plan_evaluation({"elle": 500}, 2, 1, expected_rate=given)
    assert plan.paired is not None
    assert plan.unpaired is not None
    assert (plan.paired.basis, plan.unpaired.basis) == ("assumed", "computed")
    assert "correlation 0.5" in plan.paired.source

    (plan,) = plan_evaluation(
        {"elle": 500}, 2, 1, expected_rate=given, correlation=Figure(0.7, "measured")
    )
    assert plan.paired is not None
    assert plan.paired.basis == "computed"

    (plan,) = plan_evaluation({"elle": 500}, 2, 1)
    assert plan.rate.basis == "assumed"
    assert plan.unpaired is not None
    assert plan.unpaired.basis == "assumed"


def test_every_task_has_its_own_examples():
    plans = plan_evaluation({"elle": 500, "news": Figure(7600, "computed")}, 3, 3)
    differences = [plan.detectable_difference for plan in plans]
    assert differences[0] is not None
    assert differences[1] is not None
    assert differences[0].value > differences[1].value
    assert [plan.seeds for plan in plans] == [3, 3]


def test_a_single_arm_is_one_comparison():
    (plan,) = plan_evaluation({"elle": 500}, 1, 1)
    assert plan.comparisons == 1
    assert plan.paired == plan.detectable_difference


def test_one_example_is_refused():
    with pytest.raises(PlanError, match="--n is 1"):
        plan_evaluation({"elle": 1}, 2, 1)


@pytest.mark.parametrize("scores", [NEFTUNE, GALORE])
def test_500_briefings_cannot_tell_any_neftune_strength_or_galore_rank_from_another(scores):
    pairs = find_indistinguishable(scores, 500)
    assert len(pairs) == len(scores) * (len(scores) - 1) // 2
    assert group_indistinguishable(scores, pairs) == (
        tuple(sorted(scores, key=scores.__getitem__)),
    )
    for pair in pairs:
        assert pair.needed is not None
        assert pair.needed > pair.difference


def test_unpaired_no_neighbour_in_the_component_table_is_told_apart():
    pairs = find_indistinguishable(COMPONENTS, 500, paired=False)
    names = sorted(COMPONENTS, key=COMPONENTS.__getitem__)
    near = {(pair.lower, pair.higher) for pair in pairs}
    assert set(pairwise(names)) <= near
    assert ("lora", "all") not in near


def test_of_eight_methods_two_lie_together_below_and_five_above():
    pairs = find_indistinguishable(METHODS, 500)
    assert group_indistinguishable(METHODS, pairs) == (
        ("qlora", "lora"),
        ("relora", "dora-neftune", "orpo", "galore", "full"),
    )


def test_enough_examples_tell_all_arms_apart():
    assert find_indistinguishable(GALORE, 500_000) == ()
    (plan,) = plan_evaluation({"elle": 500_000}, 5, 1, expected_rate=Figure(0.882, "given"))
    assert warn_of_evaluation(plan, GALORE, baseline="128") == ()


def test_equal_scores_are_never_told_apart():
    (pair,) = find_indistinguishable({"a": 0.8, "b": 0.8}, 1_000_000)
    assert pair.difference == 0


def test_the_first_warning_says_what_is_needed_and_the_next_ones_name_the_arms():
    (plan,) = plan_evaluation({"elle": 500}, 6, 1, expected_rate=Figure(0.821, "given"))
    first, groups, baseline = warn_of_evaluation(plan, NEFTUNE, baseline="0")
    assert first.startswith("elle: with 500 examples no two of these arms can be told apart")
    assert "assumed correlation 0.5" in first
    assert "0 82.1, 15 82.8, 3 83.6, 10 84.2, 5 85.7" in groups
    assert "baseline 0: 15 (+0.7), 3 (+1.5), 10 (+2.1), 5 (+3.6)" in baseline


def test_rivals_of_the_best_arm_are_named():
    (plan,) = plan_evaluation({"elle": 500}, 8, 1, expected_rate=Figure(0.724, "given"))
    first, *_, best = warn_of_evaluation(plan, METHODS, baseline="lora")
    assert "11 of the 28 pairs of arms cannot be told apart" in first
    assert best.startswith("The best arm, full, may as well be: galore (−1.1), orpo (−3.2)")


def test_where_some_arms_leave_no_room_it_is_said():
    (plan,) = plan_evaluation({"elle": 500}, 3, 1, expected_rate=Figure(0.97, "given"))
    (first, *_) = warn_of_evaluation(plan, {"a": 0.97, "b": 0.99, "c": 0.995})
    assert "or more than there is room for" in first


def test_without_expected_scores_nothing_is_claimed():
    (plan,) = plan_evaluation({"elle": 500}, 6, 1)
    assert warn_of_evaluation(plan) == ()
    assert warn_of_evaluation(plan, {"only": 0.5}) == ()


def test_scores_here_are_those_of_the_source():
    sources = sorted(MISSION.glob("000*.txt"))
    if not sources:
        pytest.skip("../shared/mission is not here")
    text = sources[0].read_text(encoding="utf-8")
    for scores in (NEFTUNE, GALORE, COMPONENTS, METHODS):
        for score in scores.values():
            assert re.search(rf"\| \**{100 * score:.1f}%", text)


def test_the_plan_of_an_evaluation_imports_nothing_slow():
    code = (
        "import sys; from luthier.plan.outcome.evaluation import plan_evaluation; "
        "plan_evaluation({'t': 500}, 8, 3); "
        "print([m for m in ('torch', 'scipy.stats', 'statsmodels') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
