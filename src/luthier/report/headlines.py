"""Which metrics of a task a reader sees first, what they are called, and in which unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from luthier.report.results import Evaluation, StudyResults
from luthier.stats.comparison import Direction, find_direction

Unit = Literal["percent", "number"]


@dataclass(frozen=True)
class Headline:
    """One metric worth a row of its own.

    Attributes:
        task: the name of the task in its study.
        metric: the key in `eval/<task>.json`.
        title: what a reader calls it.
        unit: "percent" shows 0.912 as 91.2% and differences in percentage points.
        better: whether more of it or less of it is an improvement.
    """

    task: str
    metric: str
    title: str
    unit: Unit = "number"
    better: Direction = "higher"


# The first row of a task is the one that the report's answer is about.
HEADLINES: dict[str, tuple[Headline, ...]] = {
    "elle": (
        Headline("elle", "overall", "overall score"),
        Headline("elle", "json_valid", "valid JSON", "percent"),
        Headline("elle", "cic_accuracy", "CIC accuracy"),
        Headline("elle", "format", "format score"),
    ),
    "classification": (Headline("classification", "accuracy", "accuracy", "percent"),),
    "perplexity": (
        Headline("perplexity", "nats_per_token", "nats per token", better="lower"),
        Headline("perplexity", "perplexity", "perplexity", better="lower"),
    ),
}

FALLBACK_COUNT = 4
"""How many metrics of a task without a row in HEADLINES are shown first."""


def choose_headlines(results: StudyResults) -> tuple[Headline, ...]:
    """The headline metrics that at least one model of the study has a value for, by task."""
    chosen: list[Headline] = []
    for task in results.tasks:
        scored = [
            run.evaluations[task]
            for entry in results.entries
            for run in entry.runs
            if task in run.evaluations
        ]
        metrics = {name: metric.kind for each in scored for name, metric in each.metrics.items()}
        known = [
            replace(headline, task=task)
            for headline in HEADLINES.get(scored[0].kind if scored else "", ())
            if headline.metric in metrics
        ]
        if not known:
            known = [describe_metric(scored[0], name, kind) for name, kind in metrics.items()]
            known = known[:FALLBACK_COUNT]
        chosen.extend(known)
    return tuple(chosen)


def describe_metric(evaluation: Evaluation, metric: str, kind: str) -> Headline:
    """The row of HEADLINES for a metric, or one made from its name and kind."""
    for headline in HEADLINES.get(evaluation.kind, ()):
        if headline.metric == metric:
            return replace(headline, task=evaluation.task)
    unit: Unit = "percent" if kind == "yes/no" else "number"
    title = metric.replace("_", " ")
    return Headline(evaluation.task, metric, title, unit, find_direction(metric))


def format_value(value: float, unit: Unit) -> str:
    """A value as a reader meets it: `91.2%`, `0.872`, `23.4`."""
    if unit == "percent":
        return f"{100 * value:.1f}%"
    return f"{value:.{_decimals(value)}f}"


def format_spread(value: float, unit: Unit, beside: float) -> str:
    """A standard deviation, with as many decimals as the value that it stands beside."""
    return f"{100 * value:.1f}" if unit == "percent" else f"{value:.{_decimals(beside)}f}"


def format_difference(value: float, unit: Unit, *, suffix: bool = True) -> str:
    """A signed difference: `+4.1 points`, `−0.032`; a true minus sign, so that columns align."""
    text = f"{100 * value:+.1f}" if unit == "percent" else f"{value:+.{_decimals(value)}f}"
    text = text.replace("-", "−")
    return f"{text} points" if suffix and unit == "percent" else text


def format_p(p_value: float) -> str:
    """A p-value with three decimals, never a bare zero."""
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _decimals(value: float) -> int:
    return 1 if abs(value) >= 10 else 3
