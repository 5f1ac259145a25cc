"""The report's figures: differences with intervals, loss curves, confusion matrices.

Each is drawn for a width in CSS pixels; the page shows the wide drawing on a screen and on paper
and the narrow one on a phone, so that letters keep their size.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luthier.report.comparisons import MetricComparison, Row
from luthier.report.palette import GRID, HEAT, INK, MUTED, choose_colour, choose_line_style
from luthier.report.results import ArmResults, LossPoint
from luthier.report.svg import FONT_PX, add_axes, drawing_style, new_figure, render_svg, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE_PX, NARROW_PX = 860, 312
LETTER_PX = 7.0
MOST_POINTS = 240
"""Training losses beyond this many a run are averaged over neighbouring steps."""


def draw_forest(
    comparisons: Sequence[MetricComparison], colours: Mapping[str, int], width: int, name: str
) -> str:
    """Differences from the baseline with their intervals: a panel a metric, a line an arm.

    `comparisons` are the compared metrics of one task; `colours` gives each arm's index.
    """
    arms = [row.arm for row in comparisons[0].rows if not row.is_baseline]
    is_narrow = width < 600
    columns = 1 if is_narrow else min(len(comparisons), 4)
    lines = math.ceil(len(comparisons) / columns)
    line_px = 40 if is_narrow else 30
    labels_px = 0 if is_narrow else min(24, max(len(arm) for arm in arms)) * LETTER_PX + 16
    body, above, below = len(arms) * line_px, 32, 44
    panel = (width - labels_px - 8) / columns
    with drawing_style():
        figure = new_figure(width, lines * (body + above + below))
        for index, comparison in enumerate(comparisons):
            line, column = divmod(index, columns)
            axes = add_axes(
                figure,
                labels_px + column * panel + 4,
                line * (body + above + below) + above,
                panel - (8 if is_narrow else 20),
                body,
            )
            rows = {row.arm: row for row in comparison.rows}
            _draw_intervals(axes, comparison, [rows[arm] for arm in arms], colours)
            if is_narrow:
                _name_above(axes, arms)
            elif column == 0:
                axes.set_yticks(range(len(arms)), [_shorten(arm, 24) for arm in arms], color=INK)
        return render_svg(figure, name, f"Differences from {comparisons[0].baseline} by arm.")


def _draw_intervals(
    axes: Axes, comparison: MetricComparison, rows: Sequence[Row], colours: Mapping[str, int]
) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    headline = comparison.headline
    scale = 100.0 if headline.unit == "percent" else 1.0
    for position, row in enumerate(rows):
        if row.pair is None:
            continue
        colour = choose_colour(colours[row.arm])
        low, high = scale * row.pair.interval.low, scale * row.pair.interval.high
        axes.plot([low, high], [position, position], color=colour, lw=2.5, solid_capstyle="round")
        axes.plot([scale * row.pair.difference], [position], "o", color=colour, ms=8)
    axes.axvline(0, color=MUTED, lw=1, ls=(0, (3, 3)))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks([])
    # Zero with some air on its far side, so that the distance from "no difference" is seen.
    left, right = axes.get_xlim()
    air = 0.06 * (max(right, 0) - min(left, 0)) or 1.0
    axes.set_xlim(min(left, -air), max(right, air))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(_sign))
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    set_title(axes, headline.title)
    unit = "percentage points" if headline.unit == "percent" else "difference"
    better = "" if headline.better == "higher" else ", lower is better"
    axes.set_xlabel(f"{unit}{better}", color=MUTED, fontsize=FONT_PX - 1, labelpad=4)


def _name_above(axes: Axes, arms: Sequence[str]) -> None:
    """On a phone a label takes the width of the panel, so it stands above its interval."""
    for position, arm in enumerate(arms):
        axes.text(
            0,
            position - 0.22,
            _shorten(arm, 40),
            transform=axes.get_yaxis_transform(),
            color=INK,
            va="bottom",
        )


def draw_losses(
    arms: Sequence[ArmResults], colours: Mapping[str, int], width: int, name: str
) -> str:
    """Training and validation loss by step; every seed thin, their mean thick."""
    panels: list[tuple[str, list[tuple[str, list[Sequence[LossPoint]]]]]] = []
    for title, kind in (("Training loss", "losses"), ("Validation loss", "validation_losses")):
        curves = [(arm.name, [getattr(run, kind) for run in arm.runs]) for arm in arms]
        curves = [(arm, [points for points in seeds if points]) for arm, seeds in curves]
        curves = [(arm, seeds) for arm, seeds in curves if seeds]
        if curves:
            panels.append((title, curves))
    is_narrow = width < 600
    columns = 1 if is_narrow else len(panels)
    panel, body, frame = width / columns, 190 if is_narrow else 250, 80
    with drawing_style():
        figure = new_figure(width, math.ceil(len(panels) / columns) * (body + frame))
        for index, (title, curves) in enumerate(panels):
            line, column = divmod(index, columns)
            left, top = column * panel + 42, line * (body + frame) + 32
            axes = add_axes(figure, left, top, panel - 42 - (12 if is_narrow else 20), body)
            for arm, seeds in curves:
                _draw_curve(axes, seeds, colours[arm])
            _finish_curves(axes, title)
        return render_svg(figure, name, "Training and validation loss by step.")


def _draw_curve(axes: Axes, seeds: Sequence[Sequence[LossPoint]], index: int) -> None:
    style: dict[str, Any] = {"color": choose_colour(index), "ls": choose_line_style(index)}
    if len(seeds) > 1:
        for points in seeds:
            steps, losses = _thin_out(points)
            axes.plot(steps, losses, lw=0.8, alpha=0.45, **style)
    steps, losses = _thin_out(_average_seeds(seeds))
    marker = "o" if len(steps) <= 12 else ""
    axes.plot(steps, losses, lw=2, marker=marker, ms=4, **style)


def _average_seeds(seeds: Sequence[Sequence[LossPoint]]) -> list[LossPoint]:
    """The mean loss on the steps that every seed has, so that no seed's end makes a jump."""
    tables = [{point.step: point.loss for point in points} for points in seeds]
    shared = sorted(set(tables[0]).intersection(*tables[1:]))
    return [LossPoint(step, statistics.fmean(t[step] for t in tables)) for step in shared]


def _thin_out(points: Sequence[LossPoint]) -> tuple[list[float], list[float]]:
    """At most MOST_POINTS points, each the mean of as many neighbours."""
    size = max(1, math.ceil(len(points) / MOST_POINTS))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    steps = [statistics.fmean(point.step for point in group) for group in groups]
    return steps, [statistics.fmean(point.loss for point in group) for group in groups]


def _finish_curves(axes: Axes, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    set_title(axes, title)
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("step", color=MUTED, fontsize=FONT_PX - 1, labelpad=4)


def draw_confusion(
    title: str, labels: Sequence[str], counts: Sequence[Sequence[int]], name: str
) -> str:
    """Counts by true class (rows) and predicted class (columns); the shade is a row's share."""
    from matplotlib.patches import Rectangle

    size = len(labels)
    longest = min(14, max(len(label) for label in labels))
    labels_px = longest * LETTER_PX + 34
    cell = max(34.0, min(62.0, (NARROW_PX - labels_px - 4) / size))
    width, body = labels_px + cell * size + 4, cell * min(1.0, 46 / cell) * size
    slanted = cell < longest * LETTER_PX
    below = (longest * LETTER_PX * 0.72 if slanted else 14) + 34
    with drawing_style():
        figure = new_figure(max(width, NARROW_PX), 34 + body + below)
        axes = add_axes(figure, labels_px, 34, cell * size, body)
        for row, line in enumerate(counts):
            total = sum(line) or 1
            for column, count in enumerate(line):
                # Capped, so that the ink of the count is legible on the darkest shade.
                shade = 0.04 + 0.6 * count / total
                box = Rectangle((column - 0.48, row - 0.47), 0.96, 0.94, lw=0)
                box.set(facecolor=HEAT, alpha=shade)
                axes.add_patch(box)
                axes.text(column, row, str(count), ha="center", va="center_baseline", color=INK)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        short = [_shorten(label, 14) for label in labels]
        turn: dict[str, Any] = {"rotation": 45, "ha": "right"} if slanted else {}
        axes.set_xticks(range(size), short, **turn)
        axes.set_yticks(range(size), short)
        axes.spines["bottom"].set_visible(False)
        axes.set_xlabel("predicted", color=MUTED, fontsize=FONT_PX - 1)
        axes.set_ylabel("true class", color=MUTED, fontsize=FONT_PX - 1)
        set_title(axes, _shorten(title, 34))
        return render_svg(figure, name, f"Confusion matrix of {title}.")


def _sign(value: float, _position: int | None = None) -> str:
    text = f"{value:+.3g}" if abs(value) > 1e-12 else "0"
    return text.replace("-", "−")


def _shorten(text: str, most: int) -> str:
    """`text`, or its beginning and end around an ellipsis where it is too long."""
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[head + 1 - most :]}"
