"""The source documents' tables, read as they are written, and the rule by which a figure agrees.

A stated figure agrees with a computed one where the computed one rounds to it at the last digit
that is stated: "~32h" takes 31.5 to 32.5, "$0.52" takes 0.515 to 0.525. `~` changes nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
MISSION = ROOT / ".." / "shared" / "mission"
EDGE = 1e-9
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


class Row(NamedTuple):
    """One stated figure and what follows from the document's own inputs.

    Attributes:
        document: its number, such as "004".
        where: table, row and column, in a few words.
        stated: as it is written.
        value: the number in it.
        computed: what follows.
        unit: the last digit that the stated figure has; None where it must lie in `span`.
        span: for a stated range that only has to hold the computed figure.
    """

    document: str
    where: str
    stated: str
    value: float
    computed: float
    unit: float | None
    span: tuple[float, float] | None = None

    @property
    def agrees(self) -> bool:
        if self.span is not None:
            return self.span[0] <= self.computed <= self.span[1]
        assert self.unit is not None
        return abs(self.computed - self.value) <= self.unit / 2 + EDGE * abs(self.value)


def read_document(number: str) -> str:
    """The text of a source document; skips the test where the documents are not there."""
    found = sorted(MISSION.glob(f"{number}_*.txt"))
    if not found:
        pytest.skip(f"no source document {number} in ../shared/mission")
    return found[0].read_text(encoding="utf-8")


def check(
    document: str, where: str, stated: str, computed: float, unit: float | None = None
) -> Row:
    """A row whose figure is the only number in `stated`."""
    numbers = NUMBER.findall(stated)
    assert len(numbers) == 1, f"{where}: {stated!r} holds {len(numbers)} numbers"
    value = float(numbers[0].replace(",", ""))
    decimals = len(numbers[0].partition(".")[2])
    return Row(document, where, stated.strip(" *"), value, computed, unit or 10.0**-decimals)


def within(document: str, where: str, stated: str, computed: float) -> Row:
    """A row whose stated range must hold the computed figure."""
    low, high = (float(number.replace(",", "")) for number in NUMBER.findall(stated)[:2])
    return Row(document, where, stated.strip(" *"), low, computed, None, (low, high))


def read_table(text: str, first_column: str, after: str = "") -> list[dict[str, str]]:
    """Rows of the first table whose header begins with `first_column`, behind `after`."""
    start = text.index(after) if after else 0
    lines = iter(text[start:].splitlines())
    header: list[str] = []
    rows: list[dict[str, str]] = []
    for line in lines:
        cells = [cell.strip().strip("*") for cell in line.strip().strip("|").split("|")]
        if not header and line.startswith("|") and cells[0] == first_column:
            header = cells
            next(lines)
        elif header and not line.startswith("|"):
            break
        elif header:
            rows.append(dict(zip(header, cells, strict=True)))
    assert rows, f"no table with the column {first_column!r} behind {after!r}"
    return rows


def find(text: str, pattern: str) -> tuple[str, ...]:
    """The groups of the one place where `pattern` matches."""
    found = list(re.finditer(pattern, text))
    assert len(found) == 1, f"{pattern!r} matches {len(found)} times"
    return found[0].groups()
