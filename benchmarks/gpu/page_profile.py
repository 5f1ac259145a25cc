"""Part 4 on the page: what a step is spent on, and the longest kernels of each case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.gpu.tables import DASH, percent, say_end, show_notes, show_table


def show_profile(part: Mapping[str, Any]) -> str:
    cells: Mapping[str, Mapping[str, Any]] = part["cells"]
    profiled = {name: cell for name, cell in cells.items() if "kernels" in cell}
    failed = [f"- {name}: {say_end(cell)}" for name, cell in cells.items() if "failed" in cell]
    sections = [
        show_kinds(profiled) if profiled else "",
        *(show_kernels(name, cell) for name, cell in profiled.items()),
        "\n".join(failed),
        show_notes(part),
    ]
    return "\n\n".join(filter(None, sections))


def show_kinds(cells: Mapping[str, Mapping[str, Any]]) -> str:
    kinds = list(dict.fromkeys(kind for cell in cells.values() for kind in cell["kinds"]))
    rows = [
        ["seconds a step", *(f"{cell['step_seconds']:.3f}" for cell in cells.values())],
        [
            "device busy / host busy, s",
            *(
                f"{c['device_seconds']:.3f} / {c['host_seconds']:.3f}"
                if "device_seconds" in c
                else DASH
                for c in cells.values()
            ),
        ],
        ["launches a step", *(f"{cell['launches_per_step']:,.0f}" for cell in cells.values())],
        [
            "no kernel runs",
            *(percent(c["idle_share"]) if "idle_share" in c else DASH for c in cells.values()),
        ],
    ]
    for kind in kinds:
        found = [cell["kinds"].get(kind) for cell in cells.values()]
        rows.append([kind, *(percent(item["share"]) if item else DASH for item in found)])
    return show_table(["share of kernels' time", *cells], rows, numbers=True)


def show_kernels(name: str, cell: Mapping[str, Any]) -> str:
    rows = [
        [
            f"`{kernel['name'].replace('`', '')}`",
            kernel["kind"],
            percent(kernel["share"]),
            f"{kernel['per_step']:,.0f}",
            f"{kernel['microseconds_each']:,.0f}",
        ]
        for kernel in cell["kernels"]
    ]
    head = ["kernel", "kind", "share", "a step", "µs each"]
    table = show_table(head, rows)
    summary = f"<details><summary>{name}: the {len(rows)} longest kernels</summary>"
    return "\n".join([summary, "", table, "", "</details>"])
