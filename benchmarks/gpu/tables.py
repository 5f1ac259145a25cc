"""Tables in Markdown, and cells of any kind as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DASH = "–"
LONGEST_TEXT = 160


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    """A table; with `numbers` all columns but the first stand to the right."""
    first, rest = "---", "--:" if numbers else "---"
    lines = [head, [first, *[rest] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(escape(cell) for cell in line) + " |" for line in lines)


def escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def show_notes(part: Mapping[str, Any]) -> str:
    """How the part counts, folded away."""
    notes = part.get("notes") or {}
    if not notes:
        return ""
    lines = [f"- **{name.replace('_', ' ')}**: {text}." for name, text in notes.items()]
    return "\n".join(
        ["<details><summary>How it is counted</summary>", "", *lines, "", "</details>"]
    )


def show_any(part: Mapping[str, Any]) -> str:
    """The cells of a part as they are: one row each, a column for each figure."""
    cells: Mapping[str, Mapping[str, Any]] = part["cells"]
    columns = dict.fromkeys(
        key for cell in cells.values() for key in cell if key not in ("took_seconds", "failed")
    )
    rows = [
        [name, *(show_value(cell.get(column)) for column in columns), say_end(cell)]
        for name, cell in cells.items()
    ]
    head = ["", *(column.replace("_", " ") for column in columns), ""]
    if all(row[-1] == "" for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return "\n\n".join(filter(None, [show_table(head, rows), show_notes(part)]))


def show_value(value: Any) -> str:
    """A figure, a text, or the parts of a mapping or list."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        parts = [f"{key.replace('_', ' ')} {show_value(item)}" for key, item in value.items()]
        return shorten("; ".join(parts))
    if isinstance(value, list | tuple):
        return shorten(", ".join(show_value(item) for item in value))
    return shorten(str(value))


def say_end(cell: Mapping[str, Any]) -> str:
    return f"failed: {shorten(cell['failed'])}" if "failed" in cell else ""


def shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"
