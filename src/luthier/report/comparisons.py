"""Every arm against the study's baseline, one headline metric at a time."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from luthier.errors import ComparisonError, LuthierError
from luthier.report.headlines import Headline, choose_headlines
from luthier.report.results import BASE, ArmResults, RunResults, StudyResults
from luthier.stats.compare import compare_arms
from luthier.stats.comparison import Comparison, PairResult
from luthier.stats.read import ArmScores, read_scores


@dataclass(frozen=True)
class Row:
    """One model on one metric.

    Attributes:
        mean: over the seeds that have been scored; None where none has.
        deviation: sample standard deviation over the seeds, from two seeds on.
        pair: the paired comparison with the baseline; None for the baseline itself, and where
            either side has no score per example.
    """

    arm: str
    seeds: int
    mean: float | None
    deviation: float | None
    pair: PairResult | None
    is_baseline: bool


@dataclass(frozen=True)
class MetricComparison:
    """All models on one headline metric.

    Attributes:
        n: examples that each model was scored on (the fewest, where they differ).
        missing: why there is no comparison, where there is none.
        notes: what the comparison itself says of seeds and of examples left out.
    """

    headline: Headline
    n: int
    baseline: str
    rows: tuple[Row, ...]
    missing: str = ""
    notes: tuple[str, ...] = ()


def compare_headlines(results: StudyResults) -> tuple[MetricComparison, ...]:
    """Compare all scored arms with the baseline on every headline metric."""
    return tuple(_compare_metric(results, headline) for headline in choose_headlines(results))


def list_arms(comparison: MetricComparison) -> list[Row]:
    """The rows of the arms that stand against the baseline: those that a question is about.

    The base model is one only as the baseline: against a trained baseline its large and
    uninteresting difference would hide those of the arms.
    """
    return [row for row in comparison.rows if not row.is_baseline and row.arm != BASE]


def _compare_metric(results: StudyResults, headline: Headline) -> MetricComparison:
    scored = {
        entry.name: runs for entry in results.entries if (runs := _scored_runs(entry, headline))
    }
    metrics = [
        run.evaluations[headline.task].metrics[headline.metric]
        for runs in scored.values()
        for run in runs
    ]
    missing = _find_obstacle(results.baseline, list(scored), {metric.kind for metric in metrics})
    comparison: Comparison | None = None
    if not missing:
        try:
            comparison = _compare_scores(scored, results.baseline, headline)
        except LuthierError as error:
            missing = str(error)
    pairs = {pair.arm: pair for pair in comparison.pairs} if comparison else {}
    return MetricComparison(
        headline=headline,
        n=min((metric.n for metric in metrics), default=0),
        baseline=results.baseline,
        rows=tuple(_summarise(entry, results, headline, pairs) for entry in results.entries),
        missing=missing,
        notes=comparison.notes if comparison else (),
    )


def _find_obstacle(baseline: str, scored: Sequence[str], kinds: set[str]) -> str:
    """Why nothing can be compared, or "" where something can."""
    if baseline not in scored:
        return f"The baseline {baseline} has no scores yet, so nothing is compared."
    if len(scored) < 2:
        return f"Only {baseline} has been scored so far, so nothing is compared."
    if "summary" in kinds:
        return "One figure for the whole data, with no score per example: shown, not compared."
    return ""


def _compare_scores(
    scored: Mapping[str, Sequence[RunResults]], baseline: str, headline: Headline
) -> Comparison:
    arms = [_read_arm(name, runs, headline) for name, runs in scored.items()]
    return compare_arms(arms, baseline, direction=headline.better)


def _read_arm(name: str, runs: Sequence[RunResults], headline: Headline) -> ArmScores:
    """The scores of one arm, only from the runs whose evaluation is complete."""
    seeds = [
        read_scores(str(run.evaluations[headline.task].examples), headline.metric) for run in runs
    ]
    if any(other.ids != seeds[0].ids for other in seeds):
        raise ComparisonError(f"The seeds of {name} were scored on different examples.")
    return replace(
        seeds[0],
        name=name,
        seeds=tuple(str(run.seed) for run in runs),
        scores_SN=np.concatenate([seed.scores_SN for seed in seeds]),
        kind="yes/no" if all(seed.kind == "yes/no" for seed in seeds) else "score",
    )


def _scored_runs(entry: ArmResults, headline: Headline) -> list[RunResults]:
    return [
        run
        for run in entry.runs
        if headline.task in run.evaluations
        and headline.metric in run.evaluations[headline.task].metrics
    ]


def _summarise(
    entry: ArmResults, results: StudyResults, headline: Headline, pairs: Mapping[str, PairResult]
) -> Row:
    values = [
        run.evaluations[headline.task].metrics[headline.metric].value
        for run in _scored_runs(entry, headline)
    ]
    return Row(
        arm=entry.name,
        seeds=len(values),
        mean=statistics.fmean(values) if values else None,
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        pair=pairs.get(entry.name),
        is_baseline=entry.name == results.baseline,
    )
