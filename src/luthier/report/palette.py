"""Colours of the report, as names that the page resolves for a light or a dark reader.

matplotlib draws with the stand-in colours below; `figures.render_svg` then swaps each for a CSS
variable, so that one drawing is legible in both schemes. Series colours are told apart by readers
with any colour vision (checked pairs of blue, orange, green and purple at different lightness).
"""

from __future__ import annotations

INK, MUTED, GRID, HEAT = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0a0a{index:02x}" for index in range(1, 9))

VARIABLES: dict[str, str] = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    HEAT: "var(--heat)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES, start=1)},
}

LINE_STYLES = ("-", "--", ":", "-.")
"""After eight arms the colours begin again, with the next line style."""


def choose_colour(index: int) -> str:
    """The stand-in colour of the arm at `index`."""
    return SERIES[index % len(SERIES)]


def choose_line_style(index: int) -> str:
    """The line style of the arm at `index`."""
    return LINE_STYLES[index // len(SERIES) % len(LINE_STYLES)]
