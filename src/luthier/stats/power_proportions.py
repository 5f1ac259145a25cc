"""Power of the tests for shares: two independent ones, and two on the same examples.

Both give the probability that the very test of `luthier compare` says p < α. Where counts are
small it is summed over all outcomes; the closed form is a few points off there.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from luthier.stats.exact_proportions import find_critical_z
from luthier.stats.proportions import (
    EXACT_BELOW,
    MINIMUM_EXPECTED_COUNT,
    compute_normal_quantile,
)

FloatArray = NDArray[np.float64]

SUMMED_UP_TO = 500
"""Examples a side up to which all outcomes of two independent counts are summed."""

FEW_EXPECTED = 20
"""Expected yes (or no) answers below which they are summed however many examples there are."""

TABULATED_UP_TO = 16_384
"""Discordant examples up to which McNemar's power is summed; beyond, it is normal to 0.005."""

WINDOW_DEVIATIONS, WINDOW_COUNTS = 6.5, 20
"""How far from its mean a count is summed over; what lies beyond is below 1e-9."""


def compute_two_proportion_power(rate: float, other: float, n: int, alpha: float) -> float:
    """Power of the two-sided test of two independent shares of `n` examples each.

    The test is that of `compare_two_proportions`: the pooled z, its exact distribution with few
    examples, Fisher's test where an expected count is below 5. Up to 500 examples a side, and
    where an answer is rare, the outcomes are summed; else it is the normal closed form with the
    pooled error under the null hypothesis and the unpooled one under the alternative.

    Source: Fleiss, Levin & Paik (2003), Statistical Methods for Rates and Proportions, §4.2; as
    statsmodels' `power_proportions_2indep`.
    """
    pooled = (rate + other) / 2
    if n <= SUMMED_UP_TO or n * min(pooled, 1 - pooled) < FEW_EXPECTED:
        return _sum_outcomes(rate, other, n, alpha)
    null_error = math.sqrt(2 * pooled * (1 - pooled) / n)
    error = math.sqrt((rate * (1 - rate) + other * (1 - other)) / n)
    critical = compute_normal_quantile(1 - alpha / 2) * null_error
    distance = abs(other - rate)
    return _normal_tail((critical - distance) / error) + _normal_tail((critical + distance) / error)


def compute_mcnemar_power(disagreement: float, difference: float, n: int, alpha: float) -> float:
    """Power of the exact McNemar test, summed over the number of examples that disagree.

    Args:
        disagreement: share of the examples that exactly one of the two arms has right.
        difference: arm − baseline, as a share; at most `disagreement` in size.

    Source: McNemar (1947) in its exact form; Miettinen (1968), Biometrics 24, 339–352, for power
    as an average over the number of discordant pairs.
    """
    from scipy.special import bdtr

    if disagreement <= 0:
        return 0.0
    if n * disagreement > TABULATED_UP_TO:
        return _approximate_mcnemar_power(disagreement, difference, n, alpha)
    discordant_K, weight_K = _binomial_window(n, min(1.0, disagreement))
    gained_share = min(1.0, max(0.0, (disagreement + difference) / (2 * disagreement)))
    critical_K = _find_mcnemar_edge(discordant_K, alpha)
    is_decidable = critical_K >= 0
    edge = np.maximum(critical_K, 0.0)
    either_K = bdtr(edge, discordant_K, gained_share) + bdtr(edge, discordant_K, 1 - gained_share)
    return float(np.sum(weight_K * np.where(is_decidable, np.minimum(either_K, 1.0), 0.0)))


def _approximate_mcnemar_power(
    disagreement: float, difference: float, n: int, alpha: float
) -> float:
    """Normal closed form, with the continuity correction that the exact test amounts to."""
    error = math.sqrt(max(0.0, disagreement - difference * difference) / n)
    critical = compute_normal_quantile(1 - alpha / 2) * math.sqrt(disagreement / n) + 1 / n
    if error == 0:
        return float(abs(difference) > critical)
    distance = abs(difference)
    return _normal_tail((critical - distance) / error) + _normal_tail((critical + distance) / error)


def _find_mcnemar_edge(discordant_K: FloatArray, alpha: float) -> FloatArray:
    """Largest smaller count that is still significant; −1 where none is."""
    last = int(discordant_K[-1])
    table = _tabulate_mcnemar_edge(max(64, 1 << last.bit_length()), alpha)
    return table[int(discordant_K[0]) : last + 1]


@lru_cache(maxsize=64)
def _tabulate_mcnemar_edge(count: int, alpha: float) -> FloatArray:
    from scipy.special import bdtr

    discordant_K = np.arange(count, dtype=np.float64)
    quantile = compute_normal_quantile(1 - alpha / 2)
    # Two above the normal approximation: the edge is reached from there in a few steps down.
    guess = np.floor(discordant_K / 2 - quantile * np.sqrt(discordant_K) / 2) + 2
    edge_K = np.clip(guess, -1, np.floor(discordant_K / 2))
    while True:
        p_K = 2 * bdtr(np.maximum(edge_K, 0), discordant_K, 0.5)
        too_high = (edge_K >= 0) & (p_K >= alpha)
        if not too_high.any():
            return edge_K
        edge_K = np.where(too_high, edge_K - 1, edge_K)


def _sum_outcomes(rate: float, other: float, n: int, alpha: float) -> float:
    base_K, base_weight_K = _binomial_window(n, rate)
    arm_K, arm_weight_K = _binomial_window(n, other)
    rejected = _decide_independent(arm_K[:, None], base_K[None, :], n, alpha)
    return float(arm_weight_K @ rejected @ base_weight_K)


def _decide_independent(
    yes: FloatArray, baseline_yes: FloatArray, n: int, alpha: float
) -> NDArray[np.bool_]:
    """Where `compare_two_proportions` says p < alpha, for many counts of `n` at once."""
    pooled = (yes + baseline_yes) / (2 * n)
    variance = pooled * (1 - pooled) * 2 / n
    # Nobody or everybody right: no difference.
    z = np.abs(yes - baseline_yes) / n / np.sqrt(np.where(variance > 0, variance, 1.0))
    if 2 * n < EXACT_BELOW:
        is_rejected = z >= find_critical_z(n, n, alpha)
    else:
        is_rejected = z > compute_normal_quantile(1 - alpha / 2)
    is_small = n * np.minimum(pooled, 1 - pooled) < MINIMUM_EXPECTED_COUNT
    if is_small.any():
        both = np.broadcast_arrays(yes, baseline_yes)
        p_fisher = _compute_fisher_p(both[0][is_small], both[1][is_small], n)
        is_rejected[is_small] = p_fisher < alpha
    return is_rejected


def _compute_fisher_p(yes: FloatArray, baseline_yes: FloatArray, n: int) -> FloatArray:
    """Fisher's exact p where fewer than ten of the 2n are yes (or no); equal groups.

    With equal groups the hypergeometric distribution is symmetric, so the two-sided p-value is
    twice the tail at the smaller count.
    """
    from scipy.special import gammaln

    total = yes + baseline_yes
    is_mostly_yes = total > n
    rare_total = np.where(is_mostly_yes, 2 * n - total, total)
    rare = np.minimum(yes, baseline_yes)
    fewer = np.where(is_mostly_yes, n - np.maximum(yes, baseline_yes), rare)

    def log_choose(top: FloatArray | float, bottom: FloatArray | float) -> FloatArray:
        return gammaln(top + 1.0) - gammaln(bottom + 1.0) - gammaln(top - bottom + 1.0)

    tail = np.zeros_like(total)
    for count in range(MINIMUM_EXPECTED_COUNT):
        rest = np.clip(rare_total - count, 0, n)
        log_share = log_choose(n, count) + log_choose(n, rest) - log_choose(2 * n, rare_total)
        is_counted = (count <= fewer) & (count <= rare_total)
        tail = tail + np.where(is_counted, np.exp(log_share), 0.0)
    return np.where(yes == baseline_yes, 1.0, np.minimum(1.0, 2 * tail))


def _binomial_window(n: int, share: float) -> tuple[FloatArray, FloatArray]:
    """Counts near the mean, and their probabilities."""
    from scipy.special import gammaln, xlog1py, xlogy

    reach = WINDOW_DEVIATIONS * math.sqrt(n * share * (1 - share)) + WINDOW_COUNTS
    low = max(0, math.floor(n * share - reach))
    high = min(n, math.ceil(n * share + reach))
    count_K = np.arange(low, high + 1, dtype=np.float64)
    log_K = gammaln(n + 1.0) - gammaln(count_K + 1) - gammaln(n - count_K + 1)
    log_K = log_K + xlogy(count_K, share) + xlog1py(n - count_K, -share)
    weight_K = np.exp(log_K)
    return count_K, weight_K / weight_K.sum()


def _normal_tail(deviations: float) -> float:
    return math.erfc(deviations / math.sqrt(2)) / 2
