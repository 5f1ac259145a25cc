"""A row as it stands in its file, and what happens to a bad one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.errors import DataError

# A column is known by its header, or by its 0-based index in a file without one.
ColumnName = str | int

_LONGEST_NAME = 40

# Takes the error of a row that is left out; a reader without one raises the error instead.
OnBadRow = Callable[[DataError], None]


@dataclass(frozen=True)
class Row:
    """One row of a file.

    Attributes:
        where: "file:line"; for Parquet and hub data the line is the 1-based row number.
        fields: values by column.
    """

    where: str
    fields: Mapping[ColumnName, Any]

    @property
    def line(self) -> int:
        """The 1-based line, or row number, in the file."""
        return int(self.where.rpartition(":")[2])

    def error(self, reason: str) -> DataError:
        """The error that says where this row stands and why it cannot be used."""
        return DataError(f"{self.where}: {reason}")

    def value(self, column: ColumnName) -> Any:
        """The value of `column`; raises DataError naming the columns there are."""
        if column not in self.fields:
            raise self.error(f"no column {_quote(column)}{self._nearest(column)}.")
        return self.fields[column]

    def text(self, column: ColumnName) -> str:
        """The non-empty text of `column`; a number is written out."""
        self.value(column)
        text = self.optional_text(column)
        if not text.strip():
            raise self.error(f"{_quote(column)} is empty. Fill it, or remove the row.")
        return text

    def optional_text(self, column: ColumnName) -> str:
        """The text of `column`, or "" where it is missing or null."""
        value = self.fields.get(column)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self.error(f"{_quote(column)} must be text, found {describe(value)}.")
        return str(value)

    def _nearest(self, column: ColumnName) -> str:
        names = [str(name) for name in self.fields]
        close = difflib.get_close_matches(str(column), names, n=1)
        guess = f", did you mean `{close[0]}`?" if close else ";"
        listed = ", ".join(f"`{name[:_LONGEST_NAME]}`" for name in names[:12])
        more = f" and {len(names) - 12} more" if len(names) > 12 else ""
        indexes = (
            ". If that is a row and no header, give 0-based indexes there"
            if any(len(name) > _LONGEST_NAME for name in names)
            else ""
        )
        has = f"{guess} the row has {listed or 'none'}{more}"
        return f"{has}. Name the right one under `columns`{indexes}"


def _quote(column: ColumnName) -> str:
    return f"`{column}`"


def describe(value: object) -> str:
    """A short name of a value for a message, such as "a list of 3" or "the text 'abc'"."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value[:30]!r}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return "a mapping"
    return f"{str(value)[:30]}"


def refuse(error: DataError, on_bad_row: OnBadRow | None) -> None:
    """Hand `error` to `on_bad_row`, or raise it where there is none."""
    if on_bad_row is None:
        raise error
    on_bad_row(error)
