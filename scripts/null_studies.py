"""Studies in which no arm is better, drawn at random, and how often a verdict claims one.

Legend: S seeds, N examples. An example's score is made of what all arms share (its difficulty),
what an arm makes of it, the arm's seed, and the noise of a single run; on that scale examples
have a standard deviation of 1 and `spread` is the seeds'.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from luthier.stats.multiple import adjust_holm
from luthier.stats.paired import run_sign_flip_test
from luthier.stats.proportions import compare_two_proportions, compute_mcnemar_p
from luthier.stats.seed_margin import compute_critical_square
from luthier.stats.seed_variance import split_variance

FloatArray = NDArray[np.float64]
ALPHA = 0.05
VALUES_AT_ONCE = 1_000_000

exact_mcnemar = lru_cache(maxsize=None)(compute_mcnemar_p)
two_proportions = lru_cache(maxsize=None)(compare_two_proportions)


class Setting(NamedTuple):
    """One kind of study; all arms answer the same examples.

    Attributes:
        examples: N, the same for all arms.
        seeds: of each arm; the first is the baseline.
        spread: standard deviation between seeds; a single list entry serves all arms.
        correlation: of two arms' scores over the examples.
        rate: share of right answers; None for graded scores.
        shared_seeds: correlation of the arms' seeds, as if a seed's number meant something.
    """

    examples: int
    seeds: tuple[int, ...]
    spread: float | tuple[float, ...] = 0.0
    correlation: float = 0.5
    rate: float | None = None
    shared_seeds: float = 0.0


def draw_studies(
    generator: np.random.Generator, setting: Setting, studies: int
) -> list[FloatArray]:
    """Scores of every arm, studies × S × N; half of what arms do not share is a single run's."""
    count, share = setting.examples, setting.correlation
    spreads = setting.spread if isinstance(setting.spread, tuple) else (setting.spread,)
    spreads = spreads * (len(setting.seeds) // len(spreads))
    common_N = math.sqrt(share) * generator.standard_normal((studies, 1, count))
    apart = math.sqrt((1 - share) / 2)
    common_S = generator.standard_normal((studies, max(setting.seeds), 1))
    arms: list[FloatArray] = []
    for seeds, spread in zip(setting.seeds, spreads, strict=True):
        own_S = generator.standard_normal((studies, seeds, 1))
        seed_S = math.sqrt(setting.shared_seeds) * common_S[:, :seeds]
        seed_S = seed_S + math.sqrt(1 - setting.shared_seeds) * own_S
        arm_N = common_N + apart * generator.standard_normal((studies, 1, count))
        scores_SN = apart * generator.standard_normal((studies, seeds, count))
        scores_SN += arm_N
        scores_SN += spread * seed_S
        if setting.rate is not None:
            edge = -float(ndtri(setting.rate)) * math.sqrt(1 + spread**2)
            scores_SN = (scores_SN > edge).astype(np.float64)
        arms.append(scores_SN)
    return arms


def claim_by_crossed_t(arms: list[FloatArray], *, yes_no: bool) -> NDArray[np.bool_]:
    """Whether any arm is claimed to differ from the first, after Holm's correction; per study.

    The smallest p decides whether there is a claim at all, and p < α/m exactly where the
    interval at that level excludes zero.
    """
    tail = ALPHA / (len(arms) - 1) / 2
    claimed = np.zeros(len(arms[0]), dtype=np.bool_)
    for arm_SN in arms[1:]:
        parts = split_variance(arm_SN, arms[0], yes_no=yes_no)
        count = arm_SN.shape[-1]
        square = compute_critical_square(
            parts.examples, count - 1, parts.seeds, parts.seed_df, tail
        )
        claimed |= parts.difference**2 > square
    return claimed


def claim_by_mcnemar(arms: list[FloatArray]) -> NDArray[np.bool_]:
    """As `claim_by_crossed_t`, for yes/no answers of one seed each."""
    differences = [arm_SN[:, 0] - arms[0][:, 0] for arm_SN in arms[1:]]
    gained = np.stack([(d_N > 0).sum(axis=1) for d_N in differences], axis=1).tolist()
    lost = np.stack([(d_N < 0).sum(axis=1) for d_N in differences], axis=1).tolist()
    return np.array(
        [
            min(adjust_holm([exact_mcnemar(b, c) for b, c in zip(won, missed, strict=True)]))
            < ALPHA
            for won, missed in zip(gained, lost, strict=True)
        ]
    )


def claim_by_sign_flip(arms: list[FloatArray], resamples: int) -> NDArray[np.bool_]:
    """As `claim_by_crossed_t`, for graded scores of one seed each."""
    claims: list[bool] = []
    for study in range(len(arms[0])):
        base_N = arms[0][study, 0]
        p_values = [
            run_sign_flip_test(arm_SN[study, 0] - base_N, resamples=resamples, seed=study)[0]
            for arm_SN in arms[1:]
        ]
        claims.append(min(adjust_holm(p_values)) < ALPHA)
    return np.array(claims)


def measure_claims(
    setting: Setting, claim: Callable[[list[FloatArray]], NDArray[np.bool_]], studies: int
) -> float:
    """Share of `studies` in which `claim` finds what is not there."""
    generator = np.random.default_rng(20_261_120)
    values = setting.examples * sum(setting.seeds)
    batch = max(1, min(studies, VALUES_AT_ONCE // values))
    sizes = [batch] * (studies // batch) + [studies % batch]
    found = [claim(draw_studies(generator, setting, size)).sum() for size in sizes if size]
    return float(sum(found)) / studies


def measure_crossed(setting: Setting, studies: int) -> float:
    """False claims of the several-seeds test."""
    yes_no = setting.rate is not None
    return measure_claims(setting, lambda arms: claim_by_crossed_t(arms, yes_no=yes_no), studies)


def measure_counts(rates: tuple[float, ...], n: int, studies: int) -> float:
    """False claims about counts of n examples each; the first rate is the baseline's."""
    generator = np.random.default_rng(20_261_120)
    yes = generator.binomial(n, rates, size=(studies, len(rates))).tolist()
    claims = 0
    for base, *others in yes:
        p_values = [two_proportions(arm, n, base, n).p_value for arm in others]
        claims += min(adjust_holm(p_values)) < ALPHA
    return claims / studies
