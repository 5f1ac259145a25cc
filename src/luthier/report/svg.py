"""matplotlib figures as inline SVG: the same bytes every time, and colours that follow the page.

A figure is measured in CSS pixels (72 dots an inch, so that a point is a pixel). Nothing global
is kept: figures are built from `Figure` directly, without pyplot.
"""

from __future__ import annotations

import contextlib
import html
import io
import re
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from luthier.report.palette import GRID, INK, MUTED, VARIABLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE_PX, NARROW_PX = 860, 312
"""Widths of a figure on a screen or on paper, and on a phone: letters keep their size on both."""

FONT_PX = 12
LETTER_PX = 6.6
"""Mean width of a letter, from which room for labels is reckoned."""

PIXELS_PER_INCH = 72

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it takes the page's font, and can be searched
    "svg.hashsalt": "luthier",
    "text.parse_math": False,  # an arm may be called `$x$`
    "font.size": FONT_PX,
    "font.family": "DejaVu Sans",
    "path.simplify": True,
}


@contextlib.contextmanager
def drawing_style() -> Generator[None]:
    """Hold the report's settings of matplotlib, which texts read when they are made and drawn."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # A label in a script that DejaVu lacks is measured badly, yet drawn by the reader's font.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def new_figure(width_px: float, height_px: float) -> Figure:
    """An empty transparent figure of the given size in CSS pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_px / PIXELS_PER_INCH, height_px / PIXELS_PER_INCH))
    figure.patch.set_visible(False)
    figure.set_dpi(PIXELS_PER_INCH)
    return figure


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place given in CSS pixels from the top left corner of the figure."""
    full_width, full_height = figure.get_size_inches() * PIXELS_PER_INCH
    axes = figure.add_axes(
        (
            left / full_width,
            1 - (top + height) / full_height,
            width / full_width,
            height / full_height,
        )
    )
    axes.patch.set_visible(False)
    axes.tick_params(colors=MUTED, labelcolor=MUTED, length=0, pad=6)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)
    return axes


def set_title(axes: Axes, title: str) -> None:
    """A title above the axes, flush left with them."""
    axes.set_title(title, loc="left", color=INK, fontsize=FONT_PX + 1, fontweight="bold", pad=12)


def shorten(text: str, most: int) -> str:
    """`text`, or its beginning and end around an ellipsis where it is too long."""
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[head + 1 - most :]}"


def render_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as one `<svg>` element for an HTML page.

    Args:
        name: unique on the page; it heads every id inside, since ids are shared by a whole page.
        description: read aloud to whoever cannot see the figure.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)
    return _adapt(buffer.getvalue(), name, description)


def _adapt(svg: str, name: str, description: str) -> str:
    """Drop what a page does not need (prologue, metadata) and take up its colours."""
    size = re.search(r'viewBox="0 0 (\S+) (\S+)"', svg)
    assert size is not None
    for useless in (
        r"<metadata>.*?</metadata>",
        r"<defs>\s*<style.*?</style>\s*</defs>",
        r"<!--.*?-->",
        r' xmlns(:\w+)?="[^"]*"',
        r' transform="rotate\(-0 [^"]*"',
    ):
        svg = re.sub(useless, "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = svg.replace("xlink:href", "href").replace(' id="', f' id="{name}-')
    svg = svg.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    for stand_in, variable in VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    head = (
        f'<svg role="img" aria-label="{html.escape(description)}" '
        f'viewBox="0 0 {size[1]} {size[2]}" width="{size[1]}" height="{size[2]}">'
    )
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    return head + re.sub(r"\n\s*", "\n", body).strip()
