"""The two parts of the variance of a difference of means: examples, and seeds.

Legend: S seeds of one arm, N examples (shared by both arms); `…` any number of studies at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class SplitVariance(NamedTuple):
    """What varies, one value per study.

    Attributes:
        difference: arm − baseline, mean over seeds and examples.
        examples: variance of the difference from the draw of examples, N − 1 degrees of freedom.
        seeds: from the draw of seeds, and of what differs by seed and example at once.
        seed_df: degrees of freedom of `seeds`, Σ (S − 1).
    """

    difference: FloatArray
    examples: FloatArray
    seeds: FloatArray
    seed_df: int


def split_variance(arm_SN: FloatArray, baseline_SN: FloatArray, *, yes_no: bool) -> SplitVariance:
    """Split the variance of the difference of two arms; one of them has several seeds at least.

    The arms' seeds are taken to vary alike, as in Student's test: with 2 or 3 seeds, degrees of
    freedom that are estimated themselves (Welch) make the test find too little.

    Args:
        arm_SN, baseline_SN: scores, …×S×N, the same N ≥ 2 examples in both.
        yes_no: whether scores are 0 or 1. Then the examples' part is at least that of one win
            and one loss among N ties, so that 0 against 100% still has a width.

    Source: Owen (2007), "The pigeonhole bootstrap", Annals of Applied Statistics 1, 386–411.
    """
    differences_N = arm_SN.mean(axis=-2) - baseline_SN.mean(axis=-2)
    count = differences_N.shape[-1]
    arms = [scores_SN for scores_SN in (arm_SN, baseline_SN) if scores_SN.shape[-2] > 1]
    seed_df = sum(scores_SN.shape[-2] - 1 for scores_SN in arms)
    squares = sum(_sum_squares(scores_SN.mean(axis=-1)) for scores_SN in arms)
    seeds = squares / seed_df * sum(1 / scores_SN.shape[-2] for scores_SN in arms)
    # The seed means already contain the interaction: taken from the examples' part, which is the
    # well-measured one, it is not counted twice.
    interaction = sum(_interaction_variance(scores_SN) for scores_SN in arms)
    smallest = 2 / ((count + 2) * (count + 1)) if yes_no else 0.0
    examples = np.maximum(smallest, differences_N.var(axis=-1, ddof=1) / count - interaction)
    return SplitVariance(differences_N.mean(axis=-1), examples, np.asarray(seeds), seed_df)


def _sum_squares(values: FloatArray) -> FloatArray:
    return ((values - values.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)


def _interaction_variance(scores_SN: FloatArray) -> FloatArray:
    """Share of the mean's variance from what neither the seed nor the example alone explains."""
    seeds, count = scores_SN.shape[-2:]
    residual_SN = (
        scores_SN
        - scores_SN.mean(axis=-1, keepdims=True)
        - scores_SN.mean(axis=-2, keepdims=True)
        + scores_SN.mean(axis=(-2, -1), keepdims=True)
    )
    mean_square = (residual_SN**2).sum(axis=(-2, -1)) / ((seeds - 1) * (count - 1))
    return mean_square / (seeds * count)
