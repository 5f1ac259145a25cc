"""Some rows of a dataset, and how many there are, without reading more than a few megabytes."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from luthier.data.columns import has_header, rename_columns
from luthier.data.elle import elle_example, generate_elle
from luthier.data.elle.preferences import add_rejected
from luthier.data.examples import Example
from luthier.data.file_rows import (
    read_delimited_rows,
    read_json_line_rows,
    read_json_rows,
    read_parquet_rows,
    read_text_rows,
)
from luthier.data.formats import reader_of
from luthier.data.rows import Row
from luthier.errors import DataError
from luthier.plan.figure import Figure
from luthier.recipe.dataset import DatasetSource, FileKind, kind_of_file

# A file up to this size is read whole and its rows are counted; of a larger one the beginning.
WHOLE_BYTES = 4_000_000
HEAD_ROWS = 1_000
# Ends of lines are counted at 2 GB/s, rows are parsed at 50 MB/s.
COUNTED_BYTES = 100_000_000
SAMPLED_ROWS = 200

_Item = TypeVar("_Item")


class RowSample(NamedTuple):
    """What was read of one dataset.

    Attributes:
        rows: how many it has in all.
        examples: up to SAMPLED_ROWS of them, spread over what was read.
    """

    rows: Figure
    examples: list[Example]


def sample_rows(source: DatasetSource) -> RowSample | None:
    """A sample of the rows of `source`; None where they are not at hand (a hub id, a folder).

    Raises:
        DataError: a file of which no row can be read.
    """
    if source.generate is not None:
        return _sample_generated(source)
    samples = [_sample_file(file, source) for file in _list_files(source)]
    if not samples:
        return None
    firmest = all(sample.rows.basis == "measured" for sample in samples)
    count = Figure(
        sum(sample.rows.value for sample in samples),
        "measured" if firmest else "computed",
        samples[0].rows.source if len(samples) == 1 else f"rows of {len(samples)} files",
    )
    examples = [example for sample in samples for example in sample.examples]
    return RowSample(count, spread(examples, SAMPLED_ROWS))


def spread(items: list[_Item], most: int) -> list[_Item]:
    """At most `most` of the items, evenly spaced: a file may be sorted by length."""
    return items[:: max(1, -(-len(items) // most))]


def _sample_generated(source: DatasetSource) -> RowSample:
    shown = min(source.count, SAMPLED_ROWS // 2)
    examples = list(_generate(source.level, source.style, shown, source.seed, source.hide_values))
    if source.holds_pairs:
        examples = list(add_rejected(examples, source.seed))
    return RowSample(Figure(source.count, "given", "the recipe's count"), examples)


@functools.lru_cache
def _generate(*settings: Any) -> tuple[Example, ...]:
    """The arms of a study generate the same rows: once is enough."""
    return tuple(elle_example(row) for row in generate_elle(*settings))


def _list_files(source: DatasetSource) -> list[Path]:
    place = Path(source.path or "")
    if source.path is None or not place.exists():
        return []
    if place.is_file():
        return [place]
    if source.data_files is not None:
        return [place / name for name in source.data_files if (place / name).is_file()]
    if source.ds_type is None:
        return []
    return sorted(file for file in place.iterdir() if kind_of_file(file.name) == source.ds_type)


def _sample_file(file: Path, source: DatasetSource) -> RowSample:
    kind = source.ds_type or kind_of_file(file.name)
    packed = file.suffix.lower() == ".gz"
    size = file.stat().st_size
    if kind == "parquet":
        return _sample_parquet(file, source)
    if size <= WHOLE_BYTES // (4 if packed else 1):
        rows = [*_read(file, kind, source)]
        return RowSample(Figure(len(rows), "measured", "rows counted"), _format(rows, source))
    if kind == "jsonl" and not packed and size <= COUNTED_BYTES:
        rows = list(islice(_read(file, kind, source), HEAD_ROWS))
        lines = Figure(_count_lines(file), "measured", "lines counted")
        return RowSample(lines, _format(rows, source))
    if kind == "json":
        rows, share = _read_json_head(file, packed)
    else:
        rows = list(islice(_read(file, kind, source), HEAD_ROWS))
        share = _share_read(file, rows[-1].line, packed) if rows else 1.0
    about = round(len(rows) / share)
    source_text = f"by size, from the first {len(rows):,} rows"
    return RowSample(Figure(about, "computed", source_text), _format(rows, source))


def _read(file: Path, kind: FileKind | None, source: DatasetSource) -> Iterator[Row]:
    def passed_over(_error: DataError) -> None:
        """A bad row is training's to complain of; the plan counts the good ones."""

    match kind:
        case "jsonl":
            return read_json_line_rows(file, passed_over)
        case "json":
            return read_json_rows(file, passed_over)
        case "csv" | "tsv":
            delimiter = "," if kind == "csv" else "\t"
            return read_delimited_rows(file, delimiter, has_header(source.columns), passed_over)
        case "text":
            return read_text_rows(file)
        case _:
            raise DataError(f"{file}: unknown kind of file. Set `ds_type`.")


def _count_lines(file: Path) -> int:
    count, last = 0, b"\n"
    with file.open("rb") as raw:
        while block := raw.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def _share_read(file: Path, lines: int, packed: bool) -> float:
    """The share of the file's bytes that its first `lines` lines take."""
    with file.open("rb") as raw:
        text: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        taken = sum(len(line) for line in islice(text, lines))
        # A compressed file is known by how much of it had to be unpacked.
        taken = raw.tell() if packed else taken
    return min(1.0, taken / file.stat().st_size)


def _read_json_head(file: Path, packed: bool) -> tuple[list[Row], float]:
    """The first rows of a long JSON list, and their share of the file."""
    with file.open("rb") as raw:
        stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        head = stream.read(WHOLE_BYTES)
        taken = raw.tell() / file.stat().st_size
    text = head.decode("utf-8-sig", errors="ignore")
    if text.lstrip()[:1] == "{":
        rows = list(islice(read_json_line_rows(file), HEAD_ROWS))
        return rows, _share_read(file, rows[-1].line, packed)
    decoder, position, rows = json.JSONDecoder(), text.find("[") + 1, list[Row]()
    while len(rows) < HEAD_ROWS:
        while position < len(text) and text[position] in " \t\r\n,":
            position += 1
        try:
            value, position = decoder.raw_decode(text, position)
        except ValueError:
            break  # The head ends inside this row.
        rows.append(Row(f"{file}:{len(rows) + 1}", value))
    return rows, min(1.0, taken * position / max(1, len(text)))


def _sample_parquet(file: Path, source: DatasetSource) -> RowSample:
    # Heavy, and needed for this kind of file alone.
    import pyarrow.parquet

    count = pyarrow.parquet.ParquetFile(file).metadata.num_rows
    rows = list(islice(read_parquet_rows(file), HEAD_ROWS))
    return RowSample(Figure(count, "measured", "rows counted"), _format(rows, source))


def _format(rows: Iterable[Row], source: DatasetSource) -> list[Example]:
    """Up to SAMPLED_ROWS of the rows as examples; a bad row is left out.

    Raises:
        DataError: every row is bad, as with a column that is not there; the first row's.
    """
    read = reader_of(source)
    examples: list[Example] = []
    errors: list[DataError] = []
    for row in spread(list(rows), SAMPLED_ROWS):
        try:
            examples.append(read(rename_columns(row, source.columns), source))
        except DataError as error:
            errors.append(error)
    if errors and not examples:
        raise errors[0]
    return examples
