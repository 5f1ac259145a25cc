"""Differences from the baseline with their intervals: a panel a metric, a line an arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from luthier.report.comparisons import MetricComparison, list_arms
from luthier.report.palette import GRID, INK, MUTED, choose_colour
from luthier.report.svg import (
    FONT_PX,
    LETTER_PX,
    NARROW_PX,
    WIDE_PX,
    add_axes,
    drawing_style,
    new_figure,
    render_svg,
    set_title,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOVE_PX, BELOW_PX, GAP_PX = 34, 48, 20
MOST_COLUMNS = 4


def draw_wide_forest(
    comparisons: Sequence[MetricComparison], colours: Mapping[str, int], name: str
) -> str:
    """Panels side by side, at most four in a line, with the arms named once on the left.

    Args:
        comparisons: the compared metrics of one task.
        colours: each arm's index in the palette.
        name: unique on the page.
    """
    arms = [row.arm for row in list_arms(comparisons[0])]
    columns = min(len(comparisons), MOST_COLUMNS)
    labels = [shorten(arm, 22 if columns > 2 else 36) for arm in arms]
    labels_px = max(map(len, labels)) * LETTER_PX + GAP_PX
    panel = (WIDE_PX - labels_px) / columns
    body = 30 * len(arms)
    height = ABOVE_PX + body + BELOW_PX
    with drawing_style():
        figure = new_figure(WIDE_PX, -(-len(comparisons) // columns) * height)
        for index, comparison in enumerate(comparisons):
            line, column = divmod(index, columns)
            left, top = labels_px + column * panel, line * height + ABOVE_PX
            axes = add_axes(figure, left, top, panel - GAP_PX, body)
            _draw_intervals(axes, comparison, arms, colours)
            if column == 0:
                # Flush left with the page's text, whatever the width of the reader's font.
                _name_arms(axes, labels, x=-labels_px / (panel - GAP_PX), up=0.0)
        return render_svg(figure, name, _describe(comparisons))


def draw_narrow_forest(
    comparisons: Sequence[MetricComparison], colours: Mapping[str, int], name: str
) -> str:
    """Panels one below the other, each arm named above its interval: for a phone."""
    arms = [row.arm for row in list_arms(comparisons[0])]
    labels = [shorten(arm, 36) for arm in arms]
    body = 44 * len(arms)
    height = ABOVE_PX + body + BELOW_PX + 6
    with drawing_style():
        figure = new_figure(NARROW_PX, len(comparisons) * height)
        for line, comparison in enumerate(comparisons):
            axes = add_axes(figure, 2, line * height + ABOVE_PX, NARROW_PX - 10, body)
            _draw_intervals(axes, comparison, arms, colours)
            _name_arms(axes, labels, x=0.0, up=0.36)
        return render_svg(figure, name, _describe(comparisons))


def _draw_intervals(
    axes: Axes, comparison: MetricComparison, arms: Sequence[str], colours: Mapping[str, int]
) -> None:
    headline = comparison.headline
    rows = {row.arm: row for row in comparison.rows}
    scale = 100.0 if headline.unit == "percent" else 1.0
    for position, arm in enumerate(arms):
        pair = rows[arm].pair
        if pair is None:
            continue
        colour = choose_colour(colours[arm])
        ends = [scale * pair.interval.low, scale * pair.interval.high]
        axes.plot(ends, [position, position], color=colour, lw=2.5, solid_capstyle="round")
        axes.plot([scale * pair.difference], [position], "o", color=colour, ms=8)
    axes.axvline(0, color=MUTED, lw=1, ls=(0, (3, 3)))
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_yticks([])
    _finish_scale(axes)
    set_title(axes, headline.title)
    unit = "percentage points" if headline.unit == "percent" else "difference"
    better = "" if headline.better == "higher" else ", lower is better"
    axes.set_xlabel(f"{unit}{better}", color=MUTED, fontsize=FONT_PX - 1, labelpad=5)


def _finish_scale(axes: Axes) -> None:
    """Always show zero, with some air beyond it: the distance from "no difference" is the point."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    left, right = axes.get_xlim()
    air = 0.06 * (max(right, 0) - min(left, 0)) or 1.0
    axes.set_xlim(min(left, -air), max(right, air))
    axes.xaxis.set_major_locator(MaxNLocator(4 if axes.bbox.width < 400 else 7))
    axes.xaxis.set_major_formatter(FuncFormatter(_show_tick))
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)


def _name_arms(axes: Axes, labels: Sequence[str], *, x: float, up: float) -> None:
    """Write each arm's name at `x` (in widths of the axes), `up` lines above its interval."""
    place = axes.get_yaxis_transform()
    for position, label in enumerate(labels):
        axes.text(x, position - up, label, transform=place, color=INK, va="center_baseline")


def _describe(comparisons: Sequence[MetricComparison]) -> str:
    titles = ", ".join(comparison.headline.title for comparison in comparisons)
    return f"Differences from {comparisons[0].baseline} with 95% intervals: {titles}."


def _show_tick(value: float, _position: int | None = None) -> str:
    text = f"{value:+.3g}" if abs(value) > 1e-12 else "0"
    return text.replace("-", "−")
