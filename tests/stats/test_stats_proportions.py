from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import barnard_exact, fisher_exact
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    proportions_ztest,
)

from luthier.stats.proportions import (
    compare_two_proportions,
    compute_independent_interval,
    compute_mcnemar_p,
    compute_paired_interval,
    compute_wilson_interval,
)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 5), (6, 0), (3, 12), (70, 41)])
def test_mcnemar_equals_statsmodels_exact(gained: int, lost: int):
    expected = 1.0
    if gained + lost:
        expected = mcnemar([[10, gained], [lost, 10]], exact=True).pvalue
    assert compute_mcnemar_p(gained, lost) == pytest.approx(expected)


def test_mcnemar_six_to_none_is_two_of_sixty_four():
    assert compute_mcnemar_p(6, 0) == pytest.approx(2 / 64)


def test_paired_interval_equals_the_published_example():
    # Bentur et al. 2009, as analysed by Fagerland, Lydersen & Laake (2014): 1 child against 7 of
    # 21 discordant; Tango's interval there is −0.517 to −0.026.
    low, high = compute_paired_interval(gained=1, lost=7, n=21)
    assert (low, high) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("gained", "lost", "n"), [(1, 7, 21), (12, 5, 60), (30, 22, 500)])
def test_edges_of_the_paired_interval_are_where_the_score_test_rejects(
    gained: int, lost: int, n: int
):
    """The constrained likelihood is maximised numerically here, in closed form in Luthier."""
    for edge in compute_paired_interval(gained, lost, n):

        def negative_log_likelihood(lost_share: float, difference: float = edge) -> float:
            gained_share = lost_share + difference
            same = 1 - gained_share - lost_share
            if min(gained_share, lost_share, same) <= 0:
                return math.inf
            return -(
                gained * math.log(gained_share)
                + lost * math.log(lost_share)
                + (n - gained - lost) * math.log(same)
            )

        bounds = (max(0.0, -edge), (1 - edge) / 2)
        options = {"xatol": 1e-12}
        found = minimize_scalar(
            negative_log_likelihood, bounds=bounds, method="bounded", options=options
        )
        variance = n * (2 * found.x + edge - edge**2)
        assert abs(gained - lost - n * edge) / variance**0.5 == pytest.approx(1.95996, abs=1e-3)


def test_paired_interval_has_a_width_without_any_disagreement():
    low, high = compute_paired_interval(0, 0, 50)
    z_squared = 1.959964**2
    assert high == pytest.approx(z_squared / (50 + z_squared), abs=1e-6)
    assert low == pytest.approx(-high)


@pytest.mark.parametrize(("yes", "n"), [(0, 8), (8, 8), (3, 10), (7254, 7600)])
def test_wilson_equals_statsmodels(yes: int, n: int):
    expected = proportion_confint(yes, n, method="wilson")
    assert compute_wilson_interval(yes, n) == pytest.approx(expected)


@pytest.mark.parametrize("counts", [(7234, 7600, 7254, 7600), (9, 10, 3, 10), (0, 20, 5, 30)])
def test_independent_interval_equals_statsmodels(counts: tuple[int, int, int, int]):
    expected = confint_proportions_2indep(*counts, method="newcomb", compare="diff")
    assert compute_independent_interval(*counts) == pytest.approx(expected)


@pytest.mark.parametrize("counts", [(7234, 7600, 7254, 7600), (200, 400, 60, 110)])
def test_large_counts_equal_the_z_test_of_statsmodels(counts: tuple[int, int, int, int]):
    yes, n, base_yes, base_n = counts
    expected = proportions_ztest([yes, base_yes], [n, base_n])[1]
    result = compare_two_proportions(*counts)
    assert result.test == "two-proportion z"
    assert result.p_value == pytest.approx(expected)


@pytest.mark.parametrize("counts", [(40, 100, 60, 110), (30, 60, 20, 60), (180, 240, 150, 240)])
def test_fewer_than_500_examples_equal_the_exact_z_of_scipy(counts: tuple[int, int, int, int]):
    yes, n, base_yes, base_n = counts
    expected = barnard_exact([[yes, base_yes], [n - yes, base_n - base_yes]], n=128).pvalue
    result = compare_two_proportions(*counts)
    assert result.test == "two-proportion z (exact)"
    assert result.p_value == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("counts", [(9, 10, 3, 10), (0, 20, 0, 30), (5, 5, 5, 5)])
def test_small_counts_take_the_exact_test(counts: tuple[int, int, int, int]):
    yes, n, base_yes, base_n = counts
    expected = fisher_exact([[yes, n - yes], [base_yes, base_n - base_yes]])[1]
    result = compare_two_proportions(*counts)
    assert result.test == "Fisher exact"
    assert result.p_value == pytest.approx(min(1.0, expected))


@pytest.mark.parametrize(
    ("shares", "n"),
    [
        ((0.10, 0.05), 20),
        ((0.05, 0.02), 50),
        ((0.02, 0.015), 500),
        ((0.4, 0.1), 20),
        ((0.85, 0.02), 20),
    ],
)
def test_paired_interval_covers_the_truth(shares: tuple[float, float], n: int):
    generator = np.random.default_rng(0)
    truth = shares[0] - shares[1]
    draws = generator.multinomial(n, (*shares, 1 - sum(shares)), size=2000)
    tables, counts = np.unique(draws, axis=0, return_counts=True)
    covered = 0
    for (gained, lost, _), count in zip(tables, counts, strict=True):
        low, high = compute_paired_interval(int(gained), int(lost), n)
        covered += count * (low <= truth <= high)
    assert covered / 2000 >= 0.93
