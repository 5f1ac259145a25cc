from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import power_proportions_2indep, proportion_effectsize

from luthier.stats.power_proportions import compute_mcnemar_power, compute_two_proportion_power
from luthier.stats.power_search import find_detectable, find_examples
from luthier.stats.proportions import compare_two_proportions, compute_mcnemar_p


@pytest.mark.parametrize(
    ("rate", "other", "n"), [(0.8, 0.85, 600), (0.857, 0.866, 7600), (0.5, 0.55, 2000)]
)
def test_large_counts_have_the_closed_form_of_statsmodels(rate: float, other: float, n: int):
    expected = power_proportions_2indep(other - rate, rate, n, alpha=0.05, return_results=False)
    assert compute_two_proportion_power(rate, other, n, 0.05) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("rate", "other"), [(0.857, 0.92), (0.857, 0.79), (0.6, 0.7)])
def test_at_500_examples_the_sum_over_outcomes_lies_near_both_closed_forms(rate, other):
    power = compute_two_proportion_power(rate, other, 500, 0.05)
    unpooled = power_proportions_2indep(other - rate, rate, 500, alpha=0.05, return_results=False)
    arcsine = NormalIndPower().power(proportion_effectsize(other, rate), 500, 0.05)
    assert power == pytest.approx(unpooled, abs=0.01)
    assert power == pytest.approx(arcsine, abs=0.02)


@pytest.mark.parametrize(("n", "alpha"), [(12, 0.05), (30, 0.05), (30, 0.01)])
def test_few_examples_sum_over_every_table_that_the_test_itself_rejects(n: int, alpha: float):
    generator = np.random.default_rng(0)
    rate, other = 0.85, 0.45
    expected = 0.0
    tables = generator.binomial(n, (rate, other), size=(4000, 2)).tolist()
    claims = {
        pair: compare_two_proportions(pair[1], n, pair[0], n).p_value < alpha
        for pair in {tuple(pair) for pair in tables}
    }
    expected = np.mean([claims[tuple(pair)] for pair in tables])
    power = compute_two_proportion_power(rate, other, n, alpha)
    assert power == pytest.approx(expected, abs=3 * (0.25 / 4000) ** 0.5)


def test_rare_mistakes_are_summed_however_many_examples_there_are():
    # 7,600 × 0.001: Fisher's test decides, far from the normal closed form.
    generator = np.random.default_rng(1)
    tables = generator.binomial(7600, (0.999, 0.9995), size=(3000, 2)).tolist()
    claims = {
        pair: compare_two_proportions(pair[1], 7600, pair[0], 7600).p_value < 0.05
        for pair in {tuple(pair) for pair in tables}
    }
    expected = np.mean([claims[tuple(pair)] for pair in tables])
    assert compute_two_proportion_power(0.999, 0.9995, 7600, 0.05) == pytest.approx(
        expected, abs=0.02
    )


def test_mcnemar_needs_six_examples_that_all_speak_for_one_arm():
    # Of n that all disagree and all are won, p = 2/2ⁿ: 0.0625 at 5 and 0.03125 at 6.
    assert compute_mcnemar_power(1.0, 1.0, 5, 0.05) == 0
    assert compute_mcnemar_power(1.0, 1.0, 6, 0.05) == pytest.approx(1)
    assert compute_mcnemar_power(0.0, 0.0, 500, 0.05) == 0


@pytest.mark.parametrize(
    ("disagreement", "difference", "n", "alpha"),
    [
        (0.08, 0.035, 500, 0.05),
        (0.08, 0.035, 500, 0.05 / 7),
        (0.12, -0.05, 500, 0.05),
        (0.3, 0.1, 60, 0.05),
        (0.08, 0.0, 500, 0.05),
    ],
)
def test_mcnemar_power_is_what_20_000_studies_find(
    disagreement: float, difference: float, n: int, alpha: float
):
    gained, lost = (disagreement + difference) / 2, (disagreement - difference) / 2
    draws = np.random.default_rng(2).multinomial(n, (gained, lost, 1 - disagreement), size=20_000)
    tables, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    claimed = [compute_mcnemar_p(int(won), int(missed)) < alpha for won, missed in tables]
    found = np.dot(claimed, counts) / 20_000
    assert compute_mcnemar_power(disagreement, difference, n, alpha) == pytest.approx(
        found, abs=4 * (found * (1 - found) / 20_000) ** 0.5
    )


def test_mcnemar_power_goes_on_smoothly_where_the_sum_ends():
    summed = compute_mcnemar_power(0.08, 0.0012, 204_000, 0.05)
    assert compute_mcnemar_power(0.08, 0.0012, 205_000, 0.05) == pytest.approx(summed, abs=0.005)


def test_examples_needed_and_difference_found_answer_each_other():
    def power_of(n: int) -> float:
        return compute_two_proportion_power(0.857, 0.866, n, 0.05)

    needed = find_examples(power_of, 0.8)
    assert needed is not None
    assert power_of(needed) >= 0.8 > power_of(needed - 1)
    found = find_detectable(
        lambda gain: compute_two_proportion_power(0.857, 0.857 + gain, needed, 0.05), 0.8, 0.143
    )
    assert found == pytest.approx(0.009, abs=1e-5)


def test_what_cannot_be_reached_is_none():
    assert find_detectable(lambda difference: 0.5, 0.8, 1.0) is None
    assert find_examples(lambda n: 0.5, 0.8) is None
