"""The study as rows: `results.csv`, and the table that the terminal shows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from luthier.files import write_text
from luthier.report.comparisons import MetricComparison, Row, compare_headlines
from luthier.report.costs import (
    TRAINING_VALUES,
    format_bytes,
    format_count,
    format_seconds,
    summarise_cost,
)
from luthier.report.headlines import Headline, format_difference, format_p, format_spread
from luthier.report.headlines import format_value as format_metric
from luthier.report.predictions import Predictions, format_off, read_predictions
from luthier.report.results import RunResults, StudyResults

CSV_HEADER = ("study", "arm", "seed", "task", "metric", "value", "n")
VERDICT_STYLES = {"better": "green", "worse": "red"}


def write_results_csv(results: StudyResults, path: Path) -> None:
    """Write one row per value: every metric of every run, and its training values.

    The base model's seed is empty; training values stand under the task `training`, where n is
    empty because they are no means over examples. Numbers keep their full precision.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for run in (results.base, *results.runs):
        seed = "" if run.seed is None else run.seed
        for task, metric, value, n in _list_values(run):
            writer.writerow((results.name, run.arm, seed, task, metric, value, n))
    write_text(path, buffer.getvalue())


def _list_values(run: RunResults) -> Iterator[tuple[str, str, float, int | str]]:
    """(task, metric, value, n) for all that is known of one run."""
    for name in TRAINING_VALUES:
        value = run.training.get(name)
        if isinstance(value, int | float):
            yield "training", name, value, ""
    for task, evaluation in run.evaluations.items():
        for name, metric in evaluation.metrics.items():
            yield task, name, metric.value, metric.n


def render_terminal_table(results: StudyResults) -> RenderableType:
    """The comparison of every headline metric, then the cost of each arm; 80 columns wide."""
    parts: list[RenderableType] = []
    for comparison in compare_headlines(results):
        parts.extend([_render_comparison(comparison, results), Text()])
    if any(run.training for run in results.runs):
        parts.extend([_render_cost(results), Text()])
        predictions = read_predictions(results)
        if predictions.arms:
            parts.extend([_render_predictions(predictions), Text()])
    for run in results.unfinished:
        message = f": {run.failure.error}: {run.failure.message}" if run.failure else ""
        style = "red" if run.failure else "yellow"
        parts.append(Text(f"{run.title}: {run.status}{message}", style=style))
    return Group(*parts)


def _render_comparison(comparison: MetricComparison, results: StudyResults) -> RenderableType:
    headline = comparison.headline
    compares = any(row.pair for row in comparison.rows)
    seeds = max(row.seeds for row in comparison.rows)
    lower = " · lower is better" if headline.better == "lower" else ""
    title = Text(
        f"{headline.task}: {headline.title} · {comparison.n} examples · "
        f"{seeds} seed{'s' if seeds != 1 else ''}{lower}",
        style="bold",
    )
    table = Table(box=None, pad_edge=False, header_style="dim", width=80 if compares else None)
    table.add_column("arm", overflow="fold", min_width=12, max_width=20)
    table.add_column("mean ± seeds" if seeds > 1 else "mean", justify="right", no_wrap=True)
    if compares:
        unit = ", points" if headline.unit == "percent" else ""
        table.add_column(f"difference [95%]{unit}", justify="right", no_wrap=True)
        table.add_column("p Holm", justify="right", no_wrap=True)
        table.add_column("verdict", ratio=1)
    for row in comparison.rows:
        table.add_row(*_make_cells(row, headline, compares))
    parts: list[RenderableType] = [title, table]
    if compares:
        parts.append(Text(f"Differences are arm minus {results.baseline}.", style="dim"))
    if comparison.missing:
        parts.append(Text(comparison.missing, style="dim"))
    return Group(*parts)


def _make_cells(row: Row, headline: Headline, compares: bool) -> list[Text]:
    cells = [Text(row.arm), Text(show_mean(row, headline))]
    if not compares:
        return cells
    if row.pair is None:
        return [*cells, Text(), Text(), Text("baseline" if row.is_baseline else "", style="dim")]
    interval = row.pair.interval
    low, difference, high = (
        format_difference(value, headline.unit, suffix=False)
        for value in (interval.low, row.pair.difference, interval.high)
    )
    verdict = Text(row.pair.verdict, style=VERDICT_STYLES.get(row.pair.verdict, ""))
    shown = Text(f"{difference} [{low}, {high}]")
    return [*cells, shown, Text(format_p(row.pair.p_holm)), verdict]


def show_mean(row: Row, headline: Headline) -> str:
    """`0.871 ± 0.004` over seeds, `0.871` for one, a dash where nothing is scored yet."""
    if row.mean is None:
        return "–"
    mean = format_metric(row.mean, headline.unit)
    if row.deviation is None:
        return mean
    return f"{mean} ± {format_spread(row.deviation, headline.unit, row.mean)}"


def _render_cost(results: StudyResults) -> Table:
    table = Table(
        title="Cost of one run", title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    table.header_style = "dim"
    table.add_column("arm", overflow="fold", max_width=24)
    for name in ("time", "tokens/s", "peak memory", "trained weights"):
        table.add_column(name, justify="right", no_wrap=True)
    for cost in map(summarise_cost, results.arms):
        table.add_row(
            Text(cost.arm),
            format_seconds(cost.seconds),
            format_count(cost.tokens_per_second),
            format_bytes(cost.peak_memory_bytes),
            format_count(cost.trainable_parameters),
        )
    return table


def _render_predictions(predictions: Predictions) -> RenderableType:
    table = Table(
        title="Predicted and measured, one training run",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    table.header_style = "dim"
    table.add_column("arm", overflow="fold", max_width=24)
    table.add_column("what", no_wrap=True)
    for name in ("planned", "measured", "off by"):
        table.add_column(name, justify="right", no_wrap=True)
    for arm in predictions.arms:
        for place, item in enumerate(arm.comparisons):
            name = Text(arm.arm if place == 0 else "")
            table.add_row(name, item.what, item.planned, item.measured, format_off(item.off))
    return Group(table, *(Text(note, style="dim") for note in predictions.notes))
