"""The result of a comparison: plain values, no computing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from luthier.stats.proportions import Interval
from luthier.stats.read import Kind

Verdict = Literal["better", "worse", "no detectable difference"]
Direction = Literal["higher", "lower"]

LOWER_IS_BETTER = frozenset(
    {
        "bits_per_byte",
        "bits_per_token",
        "cer",
        "error_rate",
        "log_perplexity",
        "loss",
        "mae",
        "mse",
        "negative_log_likelihood",
        "nll",
        "perplexity",
        "rmse",
        "val_loss",
        "wer",
    }
)
"""Metrics whose smaller values are better; all others count the other way."""


@dataclass(frozen=True)
class PairResult:
    """One arm against the baseline.

    Attributes:
        n: examples compared (shared by both).
        left_out: examples that only one of the two has.
        seeds, baseline_seeds: how many runs stand behind each mean.
        mean, baseline_mean, difference: over the shared examples; difference = mean −
            baseline_mean.
        interval: 95% (1 − alpha) interval of the difference, for this pair taken alone.
        p_value: two-sided; p_holm: corrected for all pairs of the comparison.
        detectable_difference: smallest true difference that this comparison would find with 80%
            probability.
        verdict: decided by p_holm < alpha.
    """

    arm: str
    baseline: str
    n: int
    left_out: int
    seeds: int
    baseline_seeds: int
    mean: float
    baseline_mean: float
    difference: float
    interval: Interval
    p_value: float
    p_holm: float
    test: str
    interval_method: str
    detectable_difference: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """All arms of one comparison against their baseline on one metric."""

    metric: str
    kind: Kind
    direction: Direction
    baseline: str
    alpha: float
    pairs: tuple[PairResult, ...]
    notes: tuple[str, ...]
    paired: bool = True


def find_direction(metric: str) -> Direction:
    """Return whether higher or lower values of `metric` are better."""
    return "lower" if metric.lower() in LOWER_IS_BETTER else "higher"


def decide_verdict(difference: float, p_holm: float, alpha: float, direction: Direction) -> Verdict:
    """Put the corrected p-value into words; a difference of exactly 0 is never detectable."""
    if p_holm >= alpha or difference == 0:
        return "no detectable difference"
    return "better" if (difference > 0) == (direction == "higher") else "worse"


def comparison_as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return plain values ready for JSON; every number is finite."""
    values = asdict(comparison)
    values["pairs"] = [
        {**asdict(pair), "interval": {"low": pair.interval.low, "high": pair.interval.high}}
        for pair in comparison.pairs
    ]
    values["notes"] = list(comparison.notes)
    return values
