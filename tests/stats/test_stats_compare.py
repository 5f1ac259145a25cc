from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from luthier.errors import ComparisonError
from luthier.stats import ArmScores, compare_arms, comparison_as_dict


def _arm(name: str, scores: object, ids: list[str] | None = None, metric: str = "m") -> ArmScores:
    scores_SN = np.atleast_2d(np.array(scores, dtype=np.float64))
    seeds, count = scores_SN.shape
    is_yes_no = bool(np.isin(scores_SN, (0, 1)).all())
    return ArmScores(
        name=name,
        seeds=tuple(f"{name}-{seed}" for seed in range(seeds)),
        ids=tuple(ids or [f"{number:04d}" for number in range(count)]),
        scores_SN=scores_SN,
        kind="yes/no" if is_yes_no else "score",
        metric=metric,
    )


def _yes_no(name: str, both: int, gained: int, lost: int, neither: int, *, is_base: bool):
    columns = (1, 0, 1, 0) if is_base else (1, 1, 0, 0)
    return _arm(name, np.repeat(columns, (both, gained, lost, neither)))


def test_yes_no_scores_take_exact_mcnemar():
    table = (300, 40, 20, 140)
    arm, base = (_yes_no(name, *table, is_base=name == "base") for name in ("lora", "base"))
    (pair,) = compare_arms([base, arm]).pairs
    assert pair.test == "exact McNemar"
    assert pair.p_value == pytest.approx(mcnemar([[300, 40], [20, 140]], exact=True).pvalue)
    assert pair.difference == pytest.approx(20 / 500)
    assert (pair.mean, pair.baseline_mean, pair.n) == (0.68, 0.64, 500)
    assert pair.verdict == "better"


def test_a_truly_better_arm_of_an_ablation_with_500_briefings_needs_several_points():
    # One row of an ablation: 85.7% against 84.3%, 429 against 422 of 500, 40 disagreements.
    arm = _yes_no("arm", 405, 24, 17, 54, is_base=False)
    base = _yes_no("base", 405, 24, 17, 54, is_base=True)
    (pair,) = compare_arms([base, arm]).pairs
    assert pair.verdict == "no detectable difference"
    assert 0.025 < pair.detectable_difference < 0.045


def test_other_scores_take_the_permutation_test():
    base = np.linspace(0.1, 0.9, 30)
    (pair,) = compare_arms([_arm("base", base), _arm("arm", base + 0.05)]).pairs
    assert pair.test == "sign-flip permutation"
    assert pair.verdict == "better"


def test_several_seeds_take_the_crossed_bootstrap():
    generator = np.random.default_rng(0)
    base = _arm("base", generator.normal(0, 1, 50))
    arm = _arm("arm", generator.normal(2, 1, (3, 50)))
    (pair,) = compare_arms([base, arm]).pairs
    assert (pair.test, pair.seeds, pair.baseline_seeds) == ("crossed bootstrap t", 3, 1)
    assert pair.verdict == "better"


def test_holm_equals_statsmodels_and_decides_the_verdict():
    generator = np.random.default_rng(1)
    base = generator.normal(0, 1, 40)
    arms = [_arm("base", base)]
    arms += [_arm(f"a{k}", base + generator.normal(0.15 * k, 0.5, 40)) for k in range(4)]
    comparison = compare_arms(arms)
    raw = [pair.p_value for pair in comparison.pairs]
    expected = multipletests(raw, method="holm")[1]
    assert [pair.p_holm for pair in comparison.pairs] == pytest.approx(expected)
    for pair in comparison.pairs:
        assert (pair.verdict == "no detectable difference") == (pair.p_holm >= 0.05)


def test_lower_is_better_for_perplexity():
    base = np.linspace(5, 9, 30)
    arms = [_arm("base", base, metric="perplexity"), _arm("a", base - 1, metric="perplexity")]
    assert compare_arms(arms).pairs[0].verdict == "better"
    assert compare_arms(arms, direction="higher").pairs[0].verdict == "worse"


def test_only_shared_ids_are_compared_and_the_others_counted():
    base = _arm("base", [0, 1, 0, 1], ids=["a", "b", "c", "d"])
    arm = _arm("arm", [1, 1, 1], ids=["b", "c", "z"])
    comparison = compare_arms([base, arm])
    (pair,) = comparison.pairs
    assert (pair.n, pair.left_out, pair.mean, pair.baseline_mean) == (2, 3, 1.0, 0.5)
    assert any("3 examples are left out" in note for note in comparison.notes)


def test_arms_without_shared_ids_are_refused():
    arms = [_arm("base", [0, 1], ids=["a", "b"]), _arm("arm", [0, 1], ids=["c", "d"])]
    with pytest.raises(ComparisonError, match=r"share no example ids \(c, d against a, b\)"):
        compare_arms(arms)


def test_a_single_shared_example_is_refused():
    arms = [_arm("base", [0, 1], ids=["a", "b"]), _arm("arm", [0, 1], ids=["b", "c"])]
    with pytest.raises(ComparisonError, match="two or more"):
        compare_arms(arms)


def test_baseline_is_chosen_by_name():
    arms = [_arm("x", [0, 1, 1]), _arm("y", [1, 1, 1]), _arm("z", [0, 0, 1])]
    comparison = compare_arms(arms, "y")
    assert comparison.baseline == "y"
    assert [pair.arm for pair in comparison.pairs] == ["x", "z"]
    with pytest.raises(ComparisonError, match="there are: x, y, z"):
        compare_arms(arms, "w")


@pytest.mark.parametrize("settings", [{"alpha": 0.0}, {"alpha": 1.5}, {"resamples": 5}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]):
    with pytest.raises(ComparisonError):
        compare_arms([_arm("a", [0, 1]), _arm("b", [0, 1])], **settings)  # type: ignore[arg-type]


def test_one_name_twice_is_refused():
    with pytest.raises(ComparisonError, match="same name"):
        compare_arms([_arm("a", [0, 1]), _arm("a", [0, 1])])


def test_a_single_seed_is_said():
    (note,) = compare_arms([_arm("a", [0, 1]), _arm("b", [0, 1])]).notes
    assert "seed to seed was not measured" in note


SCORES = st.one_of(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40),
    st.lists(
        st.tuples(st.floats(-5, 5, width=16), st.floats(-5, 5, width=16)), min_size=2, max_size=20
    ),
)


@settings(max_examples=40, deadline=None)
@given(SCORES, st.integers(1, 3), st.integers(1, 3), st.randoms(use_true_random=False))
def test_swapping_arms_mirrors_and_row_order_changes_nothing(rows, seeds, base_seeds, order):
    arm = _arm("arm", [[row[0] for row in rows[k:] + rows[:k]] for k in range(seeds)])
    base = _arm("base", [[row[1] for row in rows[k:] + rows[:k]] for k in range(base_seeds)])
    (one,) = compare_arms([base, arm], resamples=200).pairs
    (other,) = compare_arms([arm, base], resamples=200).pairs
    assert other.difference == pytest.approx(-one.difference, abs=1e-12)
    assert other.interval == pytest.approx((-one.interval.high, -one.interval.low), abs=1e-9)
    assert other.p_value == pytest.approx(one.p_value)
    assert {one.verdict, other.verdict} in ({"better", "worse"}, {"no detectable difference"})
    assert one.interval.low - 1e-9 <= one.difference <= one.interval.high + 1e-9

    shuffled = list(range(len(rows)))
    order.shuffle(shuffled)
    mixed = ArmScores(
        name="arm",
        seeds=arm.seeds,
        ids=tuple(arm.ids[position] for position in shuffled),
        scores_SN=arm.scores_SN[:, shuffled],
        kind=arm.kind,
        metric="m",
    )
    assert compare_arms([base, mixed], resamples=200).pairs == (one,)


@settings(max_examples=30, deadline=None)
@given(SCORES, st.integers(1, 2))
def test_json_is_finite(rows, seeds):
    arms = [_arm("arm", [[row[0] for row in rows]] * seeds), _arm("base", [r[1] for r in rows])]
    values = comparison_as_dict(compare_arms(arms, resamples=200))
    text = json.dumps(values, allow_nan=False)
    assert json.loads(text)["pairs"][0]["detectable_difference"] >= 0


def test_power_at_the_detectable_difference_is_about_eighty_percent():
    generator = np.random.default_rng(3)
    shift, found = 0.4, 0
    detectable = []
    for _ in range(300):
        difference = generator.normal(shift, 1, 50)
        arms = [_arm("base", np.zeros(50)), _arm("arm", difference)]
        (pair,) = compare_arms(arms, resamples=200).pairs
        found += pair.verdict == "better"
        detectable.append(pair.detectable_difference)
    # 2.80 · 1/√50 = 0.396
    assert np.mean(detectable) == pytest.approx(0.396, abs=0.02)
    assert found / 300 == pytest.approx(0.8, abs=0.06)


def test_statistics_import_without_torch_scipy_stats_or_rich():
    code = (
        "import sys, luthier.stats; "
        "print([m for m in ('torch', 'scipy.stats', 'statsmodels', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
