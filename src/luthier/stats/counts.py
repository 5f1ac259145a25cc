"""Bare published numbers: `7254/7600` against `7234/7600`."""

from __future__ import annotations

import math
from typing import NamedTuple

from luthier.errors import ComparisonError
from luthier.stats.comparison import Comparison, PairResult, decide_verdict
from luthier.stats.multiple import adjust_holm
from luthier.stats.proportions import (
    compare_two_proportions,
    compute_independent_interval,
    compute_normal_quantile,
)

POWER = 0.8
UNPAIRED_NOTE = (
    "Counts are compared as independent samples. Where both come from the same examples, the "
    "evaluation files give a sharper, paired comparison."
)


class Count(NamedTuple):
    """`yes` of `n` examples, under a name."""

    name: str
    yes: int
    n: int

    @property
    def share(self) -> float:
        return self.yes / self.n


def compare_counts(*counts: str, alpha: float = 0.05) -> Comparison:
    """Compare independent proportions with the first one.

    Pooled two-proportion z (Fisher's exact test where an expected count is below 5), Newcombe's
    hybrid score interval, Holm over the pairs.

    Args:
        counts: `yes/n` or `name=yes/n`, two or more; the first is the baseline.

    Raises:
        ComparisonError: fewer than two, or one that is no count.
    """
    if len(counts) < 2:
        raise ComparisonError("two counts or more are needed, such as 7254/7600 7234/7600.")
    if not 0 < alpha < 1:
        raise ComparisonError(f"alpha is {alpha}: choose a value between 0 and 1, such as 0.05.")
    base, *others = [parse_count(text) for text in counts]
    tests = [compare_two_proportions(arm.yes, arm.n, base.yes, base.n) for arm in others]
    corrected = adjust_holm([test.p_value for test in tests])
    pairs = tuple(
        PairResult(
            arm=arm.name,
            baseline=base.name,
            n=arm.n,
            left_out=0,
            seeds=1,
            baseline_seeds=1,
            mean=arm.share,
            baseline_mean=base.share,
            difference=arm.share - base.share,
            interval=compute_independent_interval(arm.yes, arm.n, base.yes, base.n, 1 - alpha),
            p_value=test.p_value,
            p_holm=p_holm,
            test=test.test,
            interval_method="Newcombe hybrid score",
            detectable_difference=_detectable(arm, base, alpha / len(others)),
            verdict=decide_verdict(arm.share - base.share, p_holm, alpha, "higher"),
        )
        for arm, test, p_holm in zip(others, tests, corrected, strict=True)
    )
    return Comparison(
        metric="share",
        kind="yes/no",
        direction="higher",
        baseline=base.name,
        alpha=alpha,
        pairs=pairs,
        notes=(UNPAIRED_NOTE,),
        paired=False,
    )


def parse_count(text: str) -> Count:
    """Read `yes/n` or `name=yes/n`; raises ComparisonError with the mend."""
    name, equals, fraction = text.rpartition("=")
    yes_text, slash, n_text = fraction.partition("/")
    try:
        yes, n = int(yes_text), int(n_text)
    except ValueError:
        what = "is not a count" if slash else "has no total"
        raise ComparisonError(f"{text!r} {what}. Write yes/n, such as 7254/7600.") from None
    if n < 1:
        raise ComparisonError(f"{text!r}: the total must be 1 or more, such as 7254/7600.")
    if not 0 <= yes <= n:
        raise ComparisonError(f"{text!r}: {yes} is not between 0 and {n}. Write yes/n.")
    return Count(name if equals else fraction, yes, n)


def _detectable(arm: Count, base: Count, alpha: float) -> float:
    """Smallest difference found with 80% power; half an imagined yes and no avoid an error of 0."""
    multiple = compute_normal_quantile(1 - alpha / 2) + compute_normal_quantile(POWER)
    variance = sum(
        share * (1 - share) / count.n
        for count in (arm, base)
        for share in [(count.yes + 0.5) / (count.n + 1)]
    )
    return multiple * math.sqrt(variance)
