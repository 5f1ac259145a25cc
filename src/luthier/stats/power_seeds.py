"""Power of the comparison of arms with several seeds each.

The difference is normal around the truth; the examples' part of its variance counts as known, the
seeds' part is estimated and so has a χ² distribution, over which power is averaged.
"""

from __future__ import annotations

import math

import numpy as np

from luthier.stats.power_search import find_detectable
from luthier.stats.seed_margin import compute_critical_square

NODES = 256
"""Equally likely values of the seeds' estimated variance; 4,096 change power by less than 1e-4."""

FARTHEST = 1e4
"""Standard errors up to which a detectable difference is sought."""


def compute_crossed_power(
    difference: float,
    example_variance: float,
    example_df: float,
    seed_variance: float,
    seed_df: float,
    alpha: float,
) -> float:
    """Probability of p < alpha where these are the true difference and variances.

    Args:
        example_variance, example_df: of the difference, from the draw of examples.
        seed_variance, seed_df: from the draw of seeds, with what the mean of a seed contains of
            its own noise on N examples.
    """
    from scipy.special import chdtri, ndtr

    above_K = (np.arange(NODES) + 0.5) / NODES
    estimated_K = seed_variance * chdtri(seed_df, above_K) / seed_df
    edge_K = np.sqrt(
        compute_critical_square(example_variance, example_df, estimated_K, seed_df, alpha / 2)
    )
    error = math.sqrt(example_variance + seed_variance)
    if error == 0:
        return 1.0 if difference else 0.0
    far_K = ndtr((abs(difference) - edge_K) / error) + ndtr((-abs(difference) - edge_K) / error)
    return float(np.mean(far_K))


def find_crossed_detectable(
    example_variance: float,
    example_df: float,
    seed_variance: float,
    seed_df: float,
    alpha: float,
    power: float,
) -> float:
    """Smallest difference found with `power`; 0 where nothing varies."""
    error = math.sqrt(example_variance + seed_variance)
    if error == 0:
        return 0.0
    found = find_detectable(
        lambda errors: compute_crossed_power(
            errors * error, example_variance, example_df, seed_variance, seed_df, alpha
        ),
        power,
        FARTHEST,
    )
    return FARTHEST * error if found is None else found * error
