"""Tests and intervals for the difference of two proportions, paired or independent.

Notation of the paired table, counts over the same examples:

                     baseline yes   baseline no
        arm yes           a          gained (b)
        arm no         lost (c)          d
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple, cast

from luthier.stats.exact_proportions import compute_exact_z_p

MINIMUM_EXPECTED_COUNT = 5

EXACT_BELOW = 500
"""Examples of both sides together below which z is not taken for normal."""

BISECTION_STEPS = 100


class Interval(NamedTuple):
    """A confidence interval, in the metric's own unit."""

    low: float
    high: float


def compute_normal_quantile(probability: float) -> float:
    """Return the standard normal quantile."""
    return NormalDist().inv_cdf(probability)


def compute_mcnemar_p(gained: int, lost: int) -> float:
    """Two-sided exact McNemar test: only the examples on which the two arms disagree count.

    Under the null hypothesis each of the `gained + lost` discordant examples falls on either side
    with probability ½, so the p-value is a binomial tail; without any it is 1.

    Source: McNemar (1947), Psychometrika 12, 153–157, in its exact (binomial) form.
    """
    discordant = gained + lost
    if discordant == 0:
        return 1.0
    from scipy.special import bdtr  # scipy costs start-up time that other commands need not pay

    return min(1.0, 2.0 * float(bdtr(min(gained, lost), discordant, 0.5)))


def compute_paired_interval(gained: int, lost: int, n: int, level: float = 0.95) -> Interval:
    """Tango's score interval for the paired difference (gained − lost) / n.

    The set of differences that the score test does not reject: |score(δ)| ≤ z. It stays within
    [−1, 1], has a width also where no example is discordant, and keeps its coverage near the
    nominal one where both proportions are close to 1 (docs/statistics.md has the figures).

    Source: Tango (1998), "Equivalence test and confidence interval for the difference in
    proportions for the paired-sample design", Statistics in Medicine 17, 891–908.
    """
    z = compute_normal_quantile(0.5 + level / 2)
    observed = (gained - lost) / n

    def is_rejected(difference: float) -> bool:
        distance = gained - lost - n * difference
        return distance * distance > z * z * _null_variance(gained, lost, n, difference)

    def find_edge(outside: float) -> float:
        if not is_rejected(outside):
            return outside
        inside = observed
        for _ in range(BISECTION_STEPS):
            middle = (inside + outside) / 2
            if is_rejected(middle):
                outside = middle
            else:
                inside = middle
        return inside

    return Interval(find_edge(-1.0), find_edge(1.0))


def _null_variance(gained: int, lost: int, n: int, difference: float) -> float:
    """Variance of gained − lost where the true difference is `difference` (Tango 1998, eq. 3)."""
    linear = -gained - lost + (2 * n - gained + lost) * difference
    constant = -lost * difference * (1 - difference)
    root = math.sqrt(max(0.0, linear * linear - 8 * n * constant))
    lost_share = (root - linear) / (4 * n)
    return max(0.0, n * (2 * lost_share + difference * (1 - difference)))


def compute_wilson_interval(yes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval for one proportion (Wilson 1927, JASA 22, 209–212)."""
    z = compute_normal_quantile(0.5 + level / 2)
    share = yes / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if yes == 0 else center - half
    high = 1.0 if yes == n else center + half
    return Interval(low, high)


def compute_independent_interval(
    yes: int, n: int, baseline_yes: int, baseline_n: int, level: float = 0.95
) -> Interval:
    """Newcombe's hybrid score interval for the difference of two independent proportions.

    Source: Newcombe (1998), "Interval estimation for the difference between independent
    proportions: comparison of eleven methods", Statistics in Medicine 17, 873–890, method 10.
    """
    share, baseline_share = yes / n, baseline_yes / baseline_n
    difference = share - baseline_share
    arm = compute_wilson_interval(yes, n, level)
    base = compute_wilson_interval(baseline_yes, baseline_n, level)
    return Interval(
        difference - math.hypot(share - arm.low, base.high - baseline_share),
        difference + math.hypot(arm.high - share, baseline_share - base.low),
    )


class TwoProportionTest(NamedTuple):
    """A two-sided p-value and the name of the test that gave it."""

    p_value: float
    test: str


def compare_two_proportions(
    yes: int, n: int, baseline_yes: int, baseline_n: int
) -> TwoProportionTest:
    """Compare two independent proportions: pooled z, or Fisher's exact test for small counts.

    Where an expected count is below 5 Fisher's test is taken (Cochran 1954, Biometrics 10,
    417–451); with fewer than 500 examples in all the exact distribution of z, at the common share
    where it is least favourable (Suissa & Shuster 1985); else the normal one.
    """
    total = n + baseline_n
    pooled = (yes + baseline_yes) / total
    smallest_expected = min(n, baseline_n) * min(pooled, 1 - pooled)
    if smallest_expected < MINIMUM_EXPECTED_COUNT:
        from scipy.stats import fisher_exact

        table = [[yes, n - yes], [baseline_yes, baseline_n - baseline_yes]]
        result = cast(Any, fisher_exact(table))
        return TwoProportionTest(min(1.0, float(result.pvalue)), "Fisher exact")
    standard_error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / baseline_n))
    z = abs(yes / n - baseline_yes / baseline_n) / standard_error
    if total < EXACT_BELOW:
        p_value = compute_exact_z_p(z, n, baseline_n)
        return TwoProportionTest(p_value, "two-proportion z (exact)")
    return TwoProportionTest(math.erfc(z / math.sqrt(2)), "two-proportion z")
