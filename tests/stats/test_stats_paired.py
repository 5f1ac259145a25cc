from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, permutation_test, t

from luthier.stats.paired import compute_bootstrap_interval, run_sign_flip_test
from luthier.stats.proportions import compute_mcnemar_p


def _draw(name: str, shape: tuple[int, int]) -> tuple[NDArray[np.float64], float]:
    """Return paired differences and their true mean."""
    generator = np.random.default_rng(7)
    if name == "normal":
        return generator.normal(0.3, 1, shape), 0.3
    if name == "bounded":
        return generator.beta(5, 1, shape) - generator.beta(2, 2, shape), 5 / 6 - 1 / 2
    sparse = generator.random(shape) < 0.3
    return generator.normal(0.5, 0.5, shape) * sparse, 0.15


def test_three_wins_have_one_chance_in_four():
    # ±1 ±2 ±3: of 8 patterns only +++ and −−− reach a sum of 6.
    assert run_sign_flip_test(np.array([1.0, 2.0, 3.0])) == (0.25, True)


@pytest.mark.parametrize("n", [4, 9, 13])
def test_exact_sign_flip_equals_scipy(n: int):
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    expected = permutation_test(
        (differences, np.zeros(n)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    assert run_sign_flip_test(differences) == (pytest.approx(expected), True)


def test_random_sign_flip_agrees_with_scipy():
    differences = np.random.default_rng(1).normal(0.2, 1, 60)
    expected = permutation_test(
        (differences, np.zeros(60)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    ).pvalue
    p_value, is_exact = run_sign_flip_test(differences)
    assert not is_exact
    assert p_value == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(("gained", "lost"), [(3, 0), (7, 2), (6, 6)])
def test_sign_flip_on_yes_no_scores_is_mcnemar(gained: int, lost: int):
    differences = np.array([1.0] * gained + [-1.0] * lost + [0.0] * 20)
    assert run_sign_flip_test(differences)[0] == pytest.approx(compute_mcnemar_p(gained, lost))


def test_no_difference_at_all_is_p_one():
    assert run_sign_flip_test(np.zeros(30)) == (1.0, True)


def test_random_p_is_never_zero():
    assert run_sign_flip_test(np.ones(100), resamples=999)[0] == pytest.approx(1 / 1000)


def test_constant_difference_has_a_point_interval():
    assert compute_bootstrap_interval(np.full(20, 0.1)) == pytest.approx((0.1, 0.1))


def test_bootstrap_agrees_with_scipy_bca_on_many_skewed_differences():
    differences = np.random.default_rng(3).exponential(1, 400) - 0.8
    expected = bootstrap(
        (differences,), np.mean, n_resamples=5000, method="BCa", rng=np.random.default_rng(4)
    ).confidence_interval
    low, high = compute_bootstrap_interval(differences)
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.08 * width)
    assert high == pytest.approx(expected.high, abs=0.08 * width)


def test_bootstrap_is_never_narrower_than_student():
    differences = np.random.default_rng(5).normal(0, 1, 12)
    margin = t.ppf(0.975, 11) * differences.std(ddof=1) / 12**0.5
    low, high = compute_bootstrap_interval(differences)
    assert low <= differences.mean() - margin + 1e-12
    assert high >= differences.mean() + margin - 1e-12


@pytest.mark.parametrize(
    ("name", "n"), [("normal", 8), ("normal", 50), ("bounded", 12), ("sparse", 50)]
)
def test_bootstrap_interval_covers_the_truth(name: str, n: int):
    samples, truth = _draw(name, (600, n))
    intervals = [
        compute_bootstrap_interval(sample, resamples=500, seed=number)
        for number, sample in enumerate(samples)
    ]
    assert np.mean([low <= truth <= high for low, high in intervals]) >= 0.93


@pytest.mark.parametrize("n", [10, 40])
def test_sign_flip_keeps_its_false_positive_rate(n: int):
    samples = np.random.default_rng(6).standard_t(4, (600, n))
    p_values = [
        run_sign_flip_test(sample, resamples=399, seed=number)[0]
        for number, sample in enumerate(samples)
    ]
    assert 0.03 <= np.mean(np.array(p_values) <= 0.05) <= 0.07
