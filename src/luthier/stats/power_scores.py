"""Power where the difference of two means has a standard error that is itself estimated."""

from __future__ import annotations

import math


def compute_t_power(
    difference: float, standard_error: float, freedom: float, alpha: float
) -> float:
    """Power of the two-sided t test: the noncentral t distribution beyond both critical values.

    Args:
        difference: true difference of the means.
        standard_error: true standard error of its estimate.
        freedom: degrees of freedom with which that error is estimated.

    Source: Johnson, Kotz & Balakrishnan (1995), Continuous Univariate Distributions 2, ch. 31; as
    statsmodels' `TTestPower`. The normal distribution beyond 10,000 degrees of freedom.
    """
    from scipy.special import nctdtr, ndtr, stdtrit

    if standard_error <= 0:
        return 1.0 if difference else 0.0
    shift = abs(difference) / standard_error
    critical = float(stdtrit(freedom, 1 - alpha / 2))
    if freedom > 10_000 or shift > 30:
        return float(ndtr(shift - critical) + ndtr(-shift - critical))
    upper = 1 - float(nctdtr(freedom, shift, critical))
    lower = float(nctdtr(freedom, shift, -critical))
    return min(1.0, upper + (lower if math.isfinite(lower) else 0.0))
