"""Loss curves of all arms: every seed thin, their mean thick."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luthier.report.palette import GRID, MUTED, choose_colour, choose_line_style
from luthier.report.results import ArmResults, LossPoint
from luthier.report.svg import FONT_PX, add_axes, drawing_style, new_figure, render_svg, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 240
"""Losses beyond this many a run are averaged over neighbouring steps."""


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
