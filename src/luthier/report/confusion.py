"""Confusion matrices as heat maps with counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luthier.report.palette import HEAT, INK, MUTED
from luthier.report.svg import (
    FONT_PX,
    LETTER_PX,
    NARROW_PX,
    add_axes,
    drawing_style,
    new_figure,
    render_svg,
    shorten,
)


def draw_confusion(
    model: str, labels: Sequence[str], counts: Sequence[Sequence[int]], name: str
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
        figure = new_figure(width, 6 + body + below)
        axes = add_axes(figure, labels_px, 6, cell * size, body)
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
        short = [shorten(label, 14) for label in labels]
        turn: dict[str, Any] = {"rotation": 45, "ha": "right"} if slanted else {}
        axes.set_xticks(range(size), short, **turn)
        axes.set_yticks(range(size), short)
        axes.spines["bottom"].set_visible(False)
        axes.set_xlabel("predicted", color=MUTED, fontsize=FONT_PX - 1)
        axes.set_ylabel("true class", color=MUTED, fontsize=FONT_PX - 1)
        return render_svg(figure, name, f"Confusion matrix of {model}.")
