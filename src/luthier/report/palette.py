"""Colours of the report, as names that the page resolves for a light or a dark reader.

matplotlib draws with the stand-in colours below; `figures.render_svg` then swaps each for a CSS
variable, so that one drawing is legible in both schemes.
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
"""When the colours of the arms begin again, the next line style tells them apart."""


def choose_colour(index: int) -> str:
    """The stand-in colour of an arm, counted from 1; 0 is the base model, which shares none."""
    return SERIES[0 if index == 0 else 1 + (index - 1) % (len(SERIES) - 1)]


def choose_line_style(index: int) -> str:
    """The line style of the arm at `index`, counted from 1."""
    return LINE_STYLES[(index - 1) // (len(SERIES) - 1) % len(LINE_STYLES)]
