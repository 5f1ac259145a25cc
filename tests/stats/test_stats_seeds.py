"""Legend: S seeds, N examples, R resamples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ttest_1samp, ttest_ind

from luthier.stats.seeds import estimate_crossed_difference

FloatArray = NDArray[np.float64]


def _draw_arm(
    generator: np.random.Generator, common_N: FloatArray, seeds: int, seed_spread: float
) -> FloatArray:
    """Scores of an arm whose true mean is 0: example + arm·example + seed + rest."""
    count = len(common_N)
    own_N = generator.normal(0, 0.5, count)
    seed_S1 = generator.normal(0, seed_spread, (seeds, 1))
    return common_N + own_N + seed_S1 + generator.normal(0, 0.7, (seeds, count))


def test_without_seed_variation_it_is_the_paired_t_test():
    base_SN = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    gain_N = np.array([0.5, 0.1, 0.9, 0.4, 0.7])
    estimate = estimate_crossed_difference(np.vstack([base_SN + gain_N] * 3), base_SN, yes_no=False)
    # Three identical seeds: nothing but the examples varies.
    assert estimate.seed_variance == pytest.approx(0, abs=1e-30)
    expected = ttest_1samp(gain_N, 0).pvalue
    assert estimate.smallest_p == 1 / 16
    margin = estimate.compute_margin(expected / 2)
    assert margin == pytest.approx(gain_N.mean())


def test_without_example_variation_it_is_students_test_on_seed_means():
    arm_S, base_S = np.array([0.52, 0.58, 0.55]), np.array([0.50, 0.47, 0.51, 0.49])
    arm_SN, base_SN = np.tile(arm_S[:, None], 40), np.tile(base_S[:, None], 40)
    estimate = estimate_crossed_difference(arm_SN, base_SN, yes_no=False)
    expected = ttest_ind(arm_S, base_S, equal_var=True)
    assert estimate.compute_p() == pytest.approx(expected.pvalue, rel=1e-6)
    interval = expected.confidence_interval()
    assert estimate.compute_interval() == pytest.approx((interval.low, interval.high))


def test_closed_form_is_the_variance_of_the_crossed_bootstrap():
    """Drawn here, computed in Luthier; only the factors n/(n − 1) and the interaction differ.

    A crossed bootstrap counts the interaction once in each part and once by itself, three times
    in all; the estimate counts it once.
    """
    generator = np.random.default_rng(0)
    seeds, count, resamples = 4, 60, 20_000
    arm_SN = _draw_arm(generator, np.zeros(count), seeds, 0.3)
    base_SN = np.zeros((1, count))
    rows = generator.integers(0, seeds, (resamples, seeds))
    columns = generator.integers(0, count, (resamples, count))
    weight_RS = np.apply_along_axis(np.bincount, 1, rows, minlength=seeds) / seeds
    weight_RN = np.apply_along_axis(np.bincount, 1, columns, minlength=count) / count
    drawn = np.einsum("rs,sn,rn->r", weight_RS, arm_SN, weight_RN).var()

    estimate = estimate_crossed_difference(arm_SN, base_SN, yes_no=False)
    centred = arm_SN - arm_SN.mean(0) - arm_SN.mean(1, keepdims=True) + arm_SN.mean()
    interaction = (centred**2).sum() / ((seeds - 1) * (count - 1)) / (seeds * count)
    shrink_S, shrink_N = (seeds - 1) / seeds, (count - 1) / count
    expected = (
        (estimate.example_variance + interaction) * shrink_N
        + estimate.seed_variance * shrink_S
        + interaction * shrink_S * shrink_N
    )
    assert drawn == pytest.approx(expected, rel=0.04)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2, 4), st.floats(-0.5, 0.5))
def test_p_is_below_alpha_exactly_where_the_interval_excludes_zero(
    number: int, arm_seeds: int, base_seeds: int, shift: float
):
    generator = np.random.default_rng(number)
    common_N = generator.normal(0, 1, 30)
    arm_SN = _draw_arm(generator, common_N, arm_seeds, 0.1) + shift
    base_SN = _draw_arm(generator, common_N, base_seeds, 0.1)
    estimate = estimate_crossed_difference(arm_SN, base_SN, yes_no=False)
    for alpha in (0.2, 0.05, 0.01):
        low, high = estimate.compute_interval(1 - alpha)
        assert (estimate.compute_p() < alpha) == (low > 0 or high < 0)


def test_zero_against_all_still_has_a_width():
    estimate = estimate_crossed_difference(np.ones((3, 50)), np.zeros((1, 50)), yes_no=True)
    low, high = estimate.compute_interval()
    assert low < 0.95
    assert high > 1
    assert 0 < estimate.compute_p() < 1e-6


@pytest.mark.parametrize("seed_spread", [0.0, 0.1, 0.5])
@pytest.mark.parametrize(("arm_seeds", "base_seeds"), [(2, 2), (3, 3), (5, 5), (3, 1), (2, 3)])
def test_interval_covers_the_truth_with_few_seeds(
    arm_seeds: int, base_seeds: int, seed_spread: float
):
    generator = np.random.default_rng(11)
    covered = 0
    for _ in range(500):
        common_N = generator.normal(0, 1, 100)
        arm_SN = _draw_arm(generator, common_N, arm_seeds, seed_spread)
        # A single run stands for the untouched model: it has no seeds to vary by.
        base_spread = seed_spread if base_seeds > 1 else 0.0
        base_SN = _draw_arm(generator, common_N, base_seeds, base_spread)
        low, high = estimate_crossed_difference(arm_SN, base_SN, yes_no=False).compute_interval()
        covered += low <= 0 <= high
    assert covered / 500 >= 0.93


def test_plain_percentile_bootstrap_would_not_cover_with_three_seeds():
    """Why the small-sample t: the textbook crossed bootstrap misses far too often."""
    generator = np.random.default_rng(12)
    covered, trials, count, seeds = 0, 200, 100, 3
    for _ in range(trials):
        common_N = generator.normal(0, 1, count)
        difference_SN = [_draw_arm(generator, common_N, seeds, 0.5) for _ in range(2)]
        means = []
        rows = generator.integers(0, seeds, (2, 300, seeds))
        weight_RN = generator.multinomial(count, [1 / count] * count, 300) / count
        for arm_SN, rows_RS in zip(difference_SN, rows, strict=True):
            weight_RS = np.apply_along_axis(np.bincount, 1, rows_RS, minlength=seeds) / seeds
            means.append(np.einsum("rs,sn,rn->r", weight_RS, arm_SN, weight_RN))
        low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
        covered += low <= 0 <= high
    assert covered / trials < 0.90
