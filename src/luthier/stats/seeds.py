"""Several seeds: the crossed bootstrap over examples and seeds, with a small-sample t.

Legend: S seeds of one arm, N examples (shared by both arms).

A difference between two arms varies for two reasons: other test examples could have been drawn,
and other seeds. The crossed ("pigeonhole") bootstrap resamples both. Its variance has a closed
form, which is used here instead of random draws: the result has no Monte Carlo noise, and the
draws of 2 to 5 seeds could not show the tails anyway.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.stats.proportions import Interval
from luthier.stats.seed_margin import compute_critical_square
from luthier.stats.seed_variance import split_variance

FloatArray = NDArray[np.float64]

BISECTION_STEPS = 50
SMALLEST_LEVEL = 1e-140
"""Below it the square of a t quantile with one degree of freedom is no longer a number."""


@dataclass(frozen=True)
class CrossedEstimate:
    """A difference of means, with the parts of its variance and their degrees of freedom.

    Attributes:
        difference: arm − baseline, mean over seeds and examples.
        example_variance: variance from the draw of examples, N − 1 degrees of freedom.
        seed_variance: variance from the draw of seeds (and of what differs by seed and example),
            `seed_df` degrees of freedom.
        smallest_p: what N examples can show at best, 2^(1 − N).
    """

    difference: float
    example_variance: float
    example_df: int
    seed_variance: float
    seed_df: float
    smallest_p: float

    def compute_margin(self, tail: float) -> float:
        """Half-width of the interval that leaves `tail` on either side."""
        square = compute_critical_square(
            self.example_variance, self.example_df, self.seed_variance, self.seed_df, tail
        )
        return math.sqrt(float(square))

    def compute_interval(self, level: float = 0.95) -> Interval:
        """Interval around the difference."""
        margin = self.compute_margin((1 - level) / 2)
        return Interval(self.difference - margin, self.difference + margin)

    def compute_p(self) -> float:
        """Two-sided p-value: the level at which the interval just reaches zero.

        So p < 0.05 exactly where the 95% interval excludes zero.
        """
        distance = abs(self.difference)
        if distance == 0:
            return 1.0
        low, high = math.log(max(SMALLEST_LEVEL, self.smallest_p)), 0.0
        for _ in range(BISECTION_STEPS):
            middle = (low + high) / 2
            if self.compute_margin(math.exp(middle) / 2) > distance:
                low = middle
            else:
                high = middle
        return min(1.0, max(self.smallest_p, math.exp(high)))


def estimate_crossed_difference(
    arm_SN: FloatArray, baseline_SN: FloatArray, *, yes_no: bool
) -> CrossedEstimate:
    """Estimate the difference of two arms, paired on examples, with several seeds in one or both.

    Examples are resampled together for both arms, seeds within each arm. Seeds are not paired,
    even where both arms ran with the same numbers: pairing halves the degrees of freedom (with
    three seeds t grows from 2.78 to 4.30) and would pay only for a correlation above about 0.6
    between runs of different methods; unpaired stays on the safe side. What varies by seed and
    example at once is counted once, within the seed part.

    An arm with one seed contributes no seed variance: true for an untouched model, otherwise
    unmeasured, which the rendered comparison says.

    Args:
        arm_SN, baseline_SN: scores, one row per seed, the same N ≥ 2 examples in both.

    Measured false positive rates: docs/statistics.md.
    """
    parts = split_variance(arm_SN, baseline_SN, yes_no=yes_no)
    count = arm_SN.shape[-1]
    return CrossedEstimate(
        difference=float(parts.difference),
        example_variance=float(parts.examples),
        example_df=count - 1,
        seed_variance=float(parts.seeds),
        seed_df=parts.seed_df,
        smallest_p=2.0 ** (1 - count),
    )
