from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from luthier.stats.power_scores import compute_t_power
from luthier.stats.power_seeds import compute_crossed_power, find_crossed_detectable
from luthier.stats.seed_margin import compute_critical_square
from luthier.stats.seeds import estimate_crossed_difference


@pytest.mark.parametrize(
    ("effect", "n", "alpha"), [(0.3, 50, 0.05), (0.5, 12, 0.01), (0.0, 9, 0.05)]
)
def test_t_power_equals_statsmodels(effect: float, n: int, alpha: float):
    expected = TTestPower().power(effect, n, alpha)
    assert compute_t_power(effect, n**-0.5, n - 1, alpha) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("freedom", [2, 3, 4, 6, 8, 16])
def test_error_rate_stays_between_4_5_and_5_5_whatever_share_the_seeds_have(freedom: int):
    shares = [0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1]
    rates = [compute_crossed_power(0.0, 1 - s, 1e6, s, freedom, 0.05) for s in shares]
    assert 0.045 <= min(rates) <= max(rates) <= 0.055
    # At either end it is an exact test: nothing but examples, or nothing but seeds.
    assert (rates[0], rates[-1]) == pytest.approx((0.05, 0.05), abs=3e-4)


def test_one_degree_of_freedom_is_never_bold():
    shares = [0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 1]
    rates = [compute_crossed_power(0.0, 1 - s, 1e6, s, 1, 0.05) for s in shares]
    assert max(rates) <= 0.055


def test_a_stricter_level_asks_for_a_larger_difference():
    tails = [0.25, 0.1, 0.025, 0.005, 1e-4, 1e-10, 1e-100]
    for seed_share in (0.0, 0.2, 0.8, 1.0):
        squares = [
            float(compute_critical_square(1 - seed_share, 99, seed_share, 2, tail))
            for tail in tails
        ]
        assert squares == sorted(squares)
        assert np.isfinite(squares).all()


def test_power_without_seed_variance_is_that_of_the_t_test():
    expected = TTestPower().power(0.3, 100, 0.05)
    assert compute_crossed_power(0.3, 1 / 100, 99, 0.0, 4, 0.05) == pytest.approx(
        expected, abs=0.01
    )


@pytest.mark.parametrize(
    ("seeds", "spread", "shift"), [(3, 0.1, 0.3), (2, 0.05, 0.3), (5, 0.3, 0.6)]
)
def test_power_is_what_2_000_studies_find(seeds: int, spread: float, shift: float):
    """Each example: arm's own 0.5, single run's noise 0.7; differences vary by twice that."""
    generator = np.random.default_rng(0)
    count, studies, found = 100, 2000, 0
    for _ in range(studies):
        arms = [
            0.5 * generator.standard_normal(count)
            + 0.7 * generator.standard_normal((seeds, count))
            + spread * generator.standard_normal((seeds, 1))
            for _ in range(2)
        ]
        estimate = estimate_crossed_difference(arms[0] + shift, arms[1], yes_no=False)
        found += estimate.compute_margin(0.025) < abs(estimate.difference)
    predicted = compute_crossed_power(
        shift,
        2 * 0.25 / count,
        count - 1,
        2 * (spread**2 + 0.49 / count) / seeds,
        2 * (seeds - 1),
        0.05,
    )
    noise = 3 * (predicted * (1 - predicted) / studies) ** 0.5
    assert predicted == pytest.approx(found / studies, abs=max(0.02, noise))


def test_the_detectable_difference_is_found_four_times_in_five():
    variances = (0.0004, 499, 0.0002, 4, 0.05)
    found = find_crossed_detectable(*variances, 0.8)
    assert compute_crossed_power(found, *variances) == pytest.approx(0.8, abs=1e-3)
    assert find_crossed_detectable(0.0, 499, 0.0, 4, 0.05, 0.8) == 0
