"""Part 3 on the page: predicted beside measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.gpu.tables import DASH, say_end, show_notes, show_table

FIGURES = {
    "allocated_gib": ("Peak memory of tensors, GiB", ",.1f"),
    "shown_gib": ("Memory that nvidia-smi shows, GiB", ",.1f"),
    "tokens_per_second": ("Tokens/s", ",.0f"),
}


def show_plan(part: Mapping[str, Any]) -> str:
    cells: Mapping[str, Mapping[str, Any]] = part["cells"]
    sections = [show_figure(name, cells) for name in FIGURES]
    others = [
        f"- {name}: {cell['left_out'] if 'left_out' in cell else say_end(cell)}"
        f"{say_predicted(cell)}"
        for name, cell in cells.items()
        if "errors" not in cell
    ]
    if others:
        sections.append("\n".join(["**Without a measurement**", "", *others]))
    return "\n\n".join(filter(None, [*sections, show_notes(part)]))


def show_figure(name: str, cells: Mapping[str, Mapping[str, Any]]) -> str:
    """One figure of all cells, planned before and after a calibration."""
    title, form = FIGURES[name]
    rows: list[list[str]] = []
    errors: dict[str, list[float]] = {"before": [], "after": []}
    for cell_name, cell in cells.items():
        if "errors" not in cell:
            continue
        row = [cell_name]
        for time in errors:
            error = cell["errors"][time][name]
            row += [f"{cell['predicted'][time][name]:{form}}", say_error(error)]
            errors[time] += [] if error is None else [abs(error)]
        measured = cell["measured"][name]
        rows.append([*row, DASH if measured is None else f"{measured:{form}}"])
    if not rows:
        return ""
    head = ["model, method, rows × tokens", "planned", "error", "calibrated", "error", "measured"]
    lines = [f"**{title}**", "", show_table(head, rows, numbers=True)]
    said = [
        f"{label} {statistics.median(errors[time]):.0f}% (largest {max(errors[time]):.0f}%)"
        for time, label in (("before", "planned"), ("after", "calibrated"))
        if errors[time]
    ]
    return "\n".join([*lines, "", f"Median error: {', '.join(said)}."] if said else lines)


def say_error(error: float | None) -> str:
    return DASH if error is None else f"{error:+.0f}%"


def say_predicted(cell: Mapping[str, Any]) -> str:
    before = cell.get("predicted", {}).get("before")
    return f" ({before['allocated_gib']:.1f} GiB planned)" if before else ""
