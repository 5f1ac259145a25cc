"""The rows of one local file, read lazily: JSON lines, JSON, CSV, TSV, text, Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

from luthier.data.rows import ColumnName, OnBadRow, Row, describe, refuse
from luthier.errors import DataError

# A text file is cut into pieces of this many characters at most, at line ends where it can: about
# 250 tokens, which fits every usual sequence_len.
TEXT_PIECE_CHARACTERS = 1000

# The csv module refuses fields above 131,072 characters unless told otherwise.
_LONGEST_CSV_FIELD = 2**31 - 1


def _open(path: Path) -> io.BufferedIOBase:
    """The file's bytes, unpacked where its name ends in .gz."""
    return gzip.GzipFile(path) if path.suffix.lower() == ".gz" else path.open("rb")


def read_json_line_rows(path: Path, on_bad_row: OnBadRow | None = None) -> Iterator[Row]:
    """One row per non-empty line."""
    with _open(path) as file:
        for number, raw in enumerate(file, start=1):
            where = f"{path}:{number}"
            try:
                line = _decode(raw, where)
                if line.strip():
                    yield _json_row(_load_json(line, where), where)
            except DataError as error:
                refuse(error, on_bad_row)


def read_json_rows(path: Path, on_bad_row: OnBadRow | None = None) -> Iterator[Row]:
    """The rows of a JSON list; a file that holds one object a line is read as JSON lines."""
    with _open(path) as file:
        text = _decode(file.read(), f"{path}:1")
    if text.lstrip()[:1] == "{":
        yield from read_json_line_rows(path, on_bad_row)
        return
    for where, value in _list_items(text, path):
        try:
            row = _json_row(value, where)
        except DataError as error:
            refuse(error, on_bad_row)
            continue
        yield row


def _list_items(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Each item of the JSON list `text` with its line; damage ends the reading, always."""
    position, line, counted = _skip_space(text, 0), 1, 0
    if not text[position:]:
        return
    if text[position] != "[":
        raise DataError(f"{path}:1: expected a list of rows, or one JSON object a line.")
    position = _skip_space(text, position + 1)
    closed = text[position : position + 1] == "]"
    while not closed:
        line, counted = line + text.count("\n", counted, position), position
        where = f"{path}:{line}"
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise _json_error(error, where, text) from error
        yield where, value
        position = _skip_space(text, position)
        mark = text[position : position + 1]
        closed = mark == "]"
        if not closed and mark != ",":
            found = f"found {mark!r}" if mark else "the file ends"
            raise DataError(f"{where}: after this row `,` or `]` must follow, but {found}.")
        position = _skip_space(text, position + 1)


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _load_json(line: str, where: str) -> Any:
    try:
        return _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise _json_error(error, where, line) from error


def _json_error(error: Exception, where: str, text: str) -> DataError:
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    # A parser that got to the end wanted more; an open string is reported at its beginning.
    cut = isinstance(error, json.JSONDecodeError) and (
        error.pos >= len(text.rstrip()) or reason.startswith("Unterminated")
    )
    hint = " The line seems to be cut off." if cut else ""
    return DataError(f"{where}: not valid JSON ({reason}).{hint}")


def _json_row(value: object, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, found {describe(value)}.")
    return Row(where, cast(dict[ColumnName, Any], value))


def read_delimited_rows(
    path: Path, delimiter: str, has_header: bool, on_bad_row: OnBadRow | None = None
) -> Iterator[Row]:
    """The rows of a CSV or TSV file, quoted as in RFC 4180; empty lines are passed over.

    Args:
        delimiter: the character between fields.
        has_header: columns are known by the first line's names; else by their 0-based index.
    """
    csv.field_size_limit(_LONGEST_CSV_FIELD)
    header: list[ColumnName] | None = None
    with _open(path) as file:
        lines = (_decode(raw, f"{path}:{n}") for n, raw in enumerate(file, start=1))
        # Without `strict` an open quote would swallow the rest of the file in silence.
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            where = f"{path}:{reader.line_num + 1}"
            try:
                cells = next(reader, None)
            except csv.Error as error:
                refuse(DataError(f"{where}: not a readable row ({error})."), on_bad_row)
                continue
            if cells is None:
                return
            if not cells:
                continue
            if header is None:
                header = _read_header(cells, where) if has_header else list(range(len(cells)))
                if has_header:
                    continue
            if len(cells) != len(header):
                reason = f"{len(cells)} fields where the file has {len(header)} columns"
                refuse(DataError(f"{where}: {reason}. Check its quotes."), on_bad_row)
                continue
            yield Row(where, dict(zip(header, cells, strict=True)))


def _read_header(cells: list[str], where: str) -> list[ColumnName]:
    names = [cell.strip() for cell in cells]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(
            f"{where}: column `{min(twice)}` stands twice in the header. Rename one, or give "
            "indexes under `columns` if this line is a row."
        )
    return list(names)


def read_text_rows(path: Path) -> Iterator[Row]:
    """Pieces of a text file as rows `{"text"}`, of at most TEXT_PIECE_CHARACTERS each.

    Whole lines are gathered as long as they fit; a longer line is cut at its last fitting space.
    Laid end to end the pieces give the file again, but for pieces of white space alone.
    """
    piece, start = "", 1
    with _open(path) as file:
        for number, raw in enumerate(file, start=1):
            line = _decode(raw, f"{path}:{number}").replace("\r\n", "\n")
            if len(piece) + len(line) > TEXT_PIECE_CHARACTERS:
                yield from _text_row(piece, path, start)
                piece, start = "", number
            while len(line) > TEXT_PIECE_CHARACTERS:
                cut = line.rfind(" ", 1, TEXT_PIECE_CHARACTERS) + 1 or TEXT_PIECE_CHARACTERS
                yield from _text_row(line[:cut], path, number)
                line = line[cut:]
            piece += line
    yield from _text_row(piece, path, start)


def _text_row(piece: str, path: Path, line: int) -> Iterator[Row]:
    if piece.strip():
        yield Row(f"{path}:{line}", {"text": piece})


def read_parquet_rows(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file, a batch at a time."""
    # Heavy, and needed for this kind of file alone.
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
            for fields in batch.to_pylist():
                number += 1
                yield Row(f"{path}:{number}", fields)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a readable Parquet file ({error}).") from error


def _decode(raw: bytes, where: str) -> str:
    """UTF-8, with or without a byte-order mark."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = int(where.rpartition(":")[2]) + raw.count(b"\n", 0, error.start)
        raise DataError(
            f"{where.rpartition(':')[0]}:{line}: not UTF-8 text (byte {raw[error.start]:#04x}). "
            "Save the file as UTF-8."
        ) from error
