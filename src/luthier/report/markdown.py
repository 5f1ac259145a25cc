"""A study's results as Markdown, to keep in a repository or to paste into a discussion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from luthier.report.answer import answer_question, describe_limits
from luthier.report.comparisons import MetricComparison, Row, compare_headlines
from luthier.report.costs import (
    Cost,
    format_bytes,
    format_count,
    format_seconds,
    summarise_cost,
)
from luthier.report.headlines import format_difference, format_p
from luthier.report.predictions import Predictions, format_off, read_predictions
from luthier.report.results import StudyResults
from luthier.report.tables import show_mean


def render_markdown(results: StudyResults) -> str:
    """Question, answer, one table a metric, costs, and what the numbers cannot show."""
    comparisons = compare_headlines(results)
    parts = [f"## {results.name}", results.question, *answer_question(comparisons)]
    parts += ["\n".join(_comparison_table(comparison)) for comparison in comparisons]
    if any(run.training for run in results.runs):
        parts.append("\n".join(_cost_table([summarise_cost(arm) for arm in results.arms])))
        predictions = read_predictions(results)
        parts += ["\n".join(_prediction_table(predictions)), *predictions.notes]
    parts += [f"- {limit}" for limit in describe_limits(results, comparisons)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _comparison_table(comparison: MetricComparison) -> Iterator[str]:
    unit = ", points" if comparison.headline.unit == "percent" else ""
    title = f"{comparison.headline.title}, {comparison.n} examples"
    yield from _table_head([title, "mean", f"difference [95%]{unit}", "p (Holm)", "verdict"])
    for row in comparison.rows:
        yield _line([row.arm, show_mean(row, comparison.headline), *_compared(row, comparison)])


def _compared(row: Row, comparison: MetricComparison) -> list[str]:
    if row.pair is None:
        return ["", "", "baseline" if row.is_baseline else ""]
    low, difference, high = (
        format_difference(value, comparison.headline.unit, suffix=False)
        for value in (row.pair.interval.low, row.pair.difference, row.pair.interval.high)
    )
    return [f"{difference} [{low}, {high}]", format_p(row.pair.p_holm), row.pair.verdict]


def _cost_table(costs: Sequence[Cost]) -> Iterator[str]:
    yield from _table_head(["cost of one run", "time", "tokens/s", "peak memory", "trained"])
    for cost in costs:
        yield _line(
            [
                cost.arm,
                format_seconds(cost.seconds),
                format_count(cost.tokens_per_second),
                format_bytes(cost.peak_memory_bytes),
                format_count(cost.trainable_parameters),
            ]
        )


def _prediction_table(predictions: Predictions) -> Iterator[str]:
    if not predictions.arms:
        return
    yield from _table_head(["planned and measured", "what", "planned", "measured", "off by"])
    for arm in predictions.arms:
        for item in arm.comparisons:
            off = format_off(item.off)
            yield _line([arm.arm, item.what, item.planned, item.measured, off])


def _table_head(names: Sequence[str]) -> Iterator[str]:
    yield _line(names)
    yield _line(["---", *["--:"] * (len(names) - 1)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
