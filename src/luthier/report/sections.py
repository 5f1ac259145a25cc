"""The parts of the page that hold figures: one section a task, and the loss curves."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from luthier.report.comparisons import MetricComparison, Row, list_arms
from luthier.report.confusion import draw_confusion
from luthier.report.forest import draw_narrow_forest, draw_wide_forest
from luthier.report.headlines import describe_metric
from luthier.report.losses import draw_losses
from luthier.report.results import BASE, ArmResults, Evaluation, StudyResults
from luthier.report.svg import NARROW_PX, WIDE_PX
from luthier.report.tables import show_mean


@dataclass(frozen=True)
class TwoSizes:
    """One figure, drawn for a screen and for a phone."""

    wide: Markup
    narrow: Markup


@dataclass(frozen=True)
class TaskSection:
    """One task on the page.

    Attributes:
        compared: the headline metrics with at least one pair; `notes` says why others have none.
        omits_base: whether the base model, which is no arm, is left out of `forest`.
        models: names of the models that have been scored, the base first.
        metrics: (title, one text a model) for every metric of the task.
        confusions: (model, matrix), for a classification.
    """

    task: str
    compared: tuple[MetricComparison, ...]
    notes: tuple[str, ...]
    omits_base: bool
    forest: TwoSizes | None
    models: tuple[str, ...]
    metrics: tuple[tuple[str, tuple[str, ...]], ...]
    confusions: tuple[tuple[str, Markup], ...]


def build_task_sections(
    results: StudyResults,
    comparisons: Sequence[MetricComparison],
    colours: Mapping[str, int],
) -> tuple[TaskSection, ...]:
    """One section for each task that has been scored."""
    sections: list[TaskSection] = []
    for number, task in enumerate(results.tasks):
        own = tuple(c for c in comparisons if c.headline.task == task)
        entries = [e for e in results.entries if any(task in run.evaluations for run in e.runs)]
        if not entries:
            continue
        compared = tuple(c for c in own if any(row.pair for row in c.rows))
        drawn = [c for c in compared if any(row.pair for row in list_arms(c))]
        sections.append(
            TaskSection(
                task=task,
                compared=compared,
                notes=tuple(dict.fromkeys(c.missing for c in own if c.missing)),
                omits_base=results.baseline != BASE,
                forest=_draw_forests(drawn, colours, number) if drawn else None,
                models=tuple(entry.name for entry in entries),
                metrics=_list_metrics(entries, task),
                confusions=_draw_confusions(entries, task, number),
            )
        )
    return tuple(sections)


def build_loss_figure(results: StudyResults, colours: Mapping[str, int]) -> TwoSizes | None:
    """The loss curves of all arms, or None before the first logged step."""
    if not any(run.losses or run.validation_losses for run in results.runs):
        return None
    return TwoSizes(
        Markup(draw_losses(results.arms, colours, WIDE_PX, "losses-wide")),
        Markup(draw_losses(results.arms, colours, NARROW_PX, "losses-narrow")),
    )


def _draw_forests(
    compared: Sequence[MetricComparison], colours: Mapping[str, int], number: int
) -> TwoSizes:
    return TwoSizes(
        Markup(draw_wide_forest(compared, colours, f"forest-{number}-wide")),
        Markup(draw_narrow_forest(compared, colours, f"forest-{number}-narrow")),
    )


def _list_metrics(
    entries: Sequence[ArmResults], task: str
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every metric of a task by model, mean and deviation over the seeds."""
    found = [_evaluations(entry, task) for entry in entries]
    kinds = {
        name: metric.kind
        for evaluations in found
        for evaluation in evaluations
        for name, metric in evaluation.metrics.items()
    }
    scored = next(evaluation for evaluations in found for evaluation in evaluations)
    rows: list[tuple[str, tuple[str, ...]]] = []
    for name, kind in kinds.items():
        headline = describe_metric(scored, name, kind)
        cells: list[str] = []
        for entry, evaluations in zip(entries, found, strict=True):
            values = [e.metrics[name].value for e in evaluations if name in e.metrics]
            mean = statistics.fmean(values) if values else None
            deviation = statistics.stdev(values) if len(values) > 1 else None
            row = Row(entry.name, len(values), mean, deviation, None, is_baseline=False)
            cells.append(show_mean(row, headline))
        rows.append((headline.title, tuple(cells)))
    return tuple(rows)


def _draw_confusions(
    entries: Sequence[ArmResults], task: str, number: int
) -> tuple[tuple[str, Markup], ...]:
    """One matrix a model, its counts summed over the seeds."""
    figures: list[tuple[str, Markup]] = []
    for index, entry in enumerate(entries):
        scored = [e for e in _evaluations(entry, task) if e.confusion_matrix]
        if not scored:
            continue
        counts = [
            [sum(cells) for cells in zip(*rows, strict=True)]
            for rows in zip(*(e.confusion_matrix for e in scored), strict=True)
        ]
        name = f"confusion-{number}-{index}"
        drawing = draw_confusion(entry.name, scored[0].labels, counts, name)
        figures.append((entry.name, Markup(drawing)))
    return tuple(figures)


def _evaluations(entry: ArmResults, task: str) -> list[Evaluation]:
    return [run.evaluations[task] for run in entry.runs if task in run.evaluations]
