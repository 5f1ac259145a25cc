"""Columns under other names, and templates filled from columns."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import replace

from luthier.data.rows import ColumnName, Row


def rename_columns(
    row: Row, columns: Mapping[str, ColumnName | tuple[ColumnName, ...]] | None
) -> Row:
    """`row` with each name of `columns` added; several columns are joined with a newline.

    Raises:
        DataError: a column that the row does not have, or one to join that is not text.
    """
    if not columns:
        return row
    named: dict[ColumnName, object] = {}
    for name, column in columns.items():
        if isinstance(column, tuple):
            parts = [row.optional_text(part) for part in column if row.value(part) is not None]
            named[name] = "\n".join(part for part in parts if part.strip())
        else:
            named[name] = row.value(column)
    return replace(row, fields={**row.fields, **named})


def fill_template(template: str, row: Row) -> str:
    """`template` with each {column} replaced; {{ and }} stand for braces.

    Only the column's name stands in braces: no attribute, index or format is looked up.
    """
    # A 0-based index in braces arrives as text.
    indexed = {str(name): name for name in row.fields}
    filled: list[str] = []
    for literal, name, spec, conversion in string.Formatter().parse(template):
        filled.append(literal)
        if name is not None:
            column = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            row.value(indexed.get(column, column))
            filled.append(row.optional_text(indexed.get(column, column)))
    return "".join(filled)


def has_header(
    columns: Mapping[str, ColumnName | tuple[ColumnName, ...]] | None,
) -> bool:
    """Whether the first line of a CSV file names its columns: not so when `columns` has indexes."""
    named = [
        part
        for column in (columns or {}).values()
        for part in (column if isinstance(column, tuple) else (column,))
    ]
    return not any(isinstance(part, int) for part in named)
