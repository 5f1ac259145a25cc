"""Paired comparisons, intervals and verdicts, without torch."""

from luthier.stats.compare import compare_arms
from luthier.stats.comparison import (
    Comparison,
    Direction,
    PairResult,
    Verdict,
    comparison_as_dict,
)
from luthier.stats.counts import compare_counts
from luthier.stats.read import ArmScores, read_arms, read_scores
from luthier.stats.render import describe_comparison, render_comparison

__all__ = [
    "ArmScores",
    "Comparison",
    "Direction",
    "PairResult",
    "Verdict",
    "compare_arms",
    "compare_counts",
    "comparison_as_dict",
    "describe_comparison",
    "read_arms",
    "read_scores",
    "render_comparison",
]
