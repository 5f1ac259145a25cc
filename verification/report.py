"""The table as text of 80 columns, and as a page of Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

from verification.check import Check

COLUMNS = ("technique", "reference", "compared", "found", "limit")
WIDTHS = (16, 16, 28, 7, 4)
LIBRARIES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "galore-torch")


class Result(NamedTuple):
    check: Check
    difference: float

    @property
    def passes(self) -> bool:
        return self.check.passes(self.difference)


def format_number(value: float) -> str:
    """`4.4e-16`, `1e-6`, `0`."""
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if exponent else mantissa


def list_cells(result: Result) -> list[str]:
    check = result.check
    numbers = [format_number(result.difference), format_number(check.limit)]
    return [check.technique, check.reference, check.quantity, *numbers]


def format_line(cells: Sequence[str], *, mark: bool = False) -> str:
    """One line of the text; a mark stands behind what is beyond its limit."""
    texts = [cell.ljust(width) for cell, width in zip(cells[:3], WIDTHS[:3], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(cells[3:], WIDTHS[3:], strict=True)]
    return "  ".join([*texts, *numbers]).rstrip() + ("!" if mark else "")


def format_summary(results: Sequence[Result]) -> str:
    failed = [result.check for result in results if not result.passes]
    if not failed:
        return f"{len(results)} checks, each within its limit."
    names = ", ".join(f"{check.technique} ({check.quantity})" for check in failed)
    return f"{len(failed)} of {len(results)} checks beyond their limit (!): {names}."


def format_page(results: Sequence[Result], notes: Sequence[str]) -> str:
    """docs/verification.md."""
    rows = [f"| {' | '.join(list_cells(result))} |" for result in results]
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    introduction = (
        "Every technique beside a reference that others wrote, or beside the equations of its "
        "paper written out in NumPy; never beside earlier results of its own. `make verify` runs "
        "the checks and writes this page, the tests run the same checks."
    )
    reading = (
        "*found* is the largest difference, as a share of the largest value compared; *limit* is "
        "what passes. All is computed in float64 but what rests on bitsandbytes, which computes in "
        "float32. Updates are compared by how far a weight has moved. Every side and shape is "
        "tried: wide, tall and square, projected left and right, linear and `Conv1D`, "
        "with dropout and without."
    )
    parts = [
        "# Verification",
        *(textwrap.fill(text, 100) for text in (introduction, reading)),
        "\n".join([f"| {' | '.join(COLUMNS)} |", "|---|---|---|--:|--:|", *rows]),
        format_summary(results),
        *(textwrap.fill(note, 100) for note in notes),
        textwrap.fill(f"On a CPU with {versions}.", 100),
    ]
    return "\n\n".join(parts) + "\n"
