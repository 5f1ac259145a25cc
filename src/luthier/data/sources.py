"""Where rows come from: a local file, a folder, or a data set of the hub."""

from __future__ import annotations

import difflib
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from luthier.data.file_rows import (
    read_delimited_rows,
    read_json_line_rows,
    read_json_rows,
    read_parquet_rows,
    read_text_rows,
)
from luthier.data.rows import OnBadRow, Row
from luthier.errors import DataError
from luthier.recipe.dataset import SUFFIXES, FileKind, kind_of_file

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def read_rows(
    path: str,
    ds_type: FileKind | None = None,
    *,
    name: str | None = None,
    split: str = "train",
    data_files: Iterable[str] | None = None,
    revision: str | None = None,
    has_header: bool = True,
    on_bad_row: OnBadRow | None = None,
) -> Iterator[Row]:
    """Yield the rows of `path`, lazily.

    Args:
        path: a file, a folder or a hub id.
        ds_type: kind of file; told by the suffix when None. With a folder: all files of the kind.
        name: configuration of a hub data set.
        split: split of a folder or hub data set; a local file has none.
        data_files: files inside the folder `path` to read, in this order.
        revision: branch, tag or commit of a hub data set.
        has_header: for CSV and TSV, whether the first line names the columns.
        on_bad_row: called with the error of each row that cannot be read, which is then left
            out; without it the error is raised.

    Raises:
        DataError: no such file or data set, no rows in it, or a row that cannot be read.
    """
    found = False
    files = _local_files(path, ds_type, data_files)
    for file in files:
        for row in _read_file(file, ds_type, has_header, on_bad_row):
            found = True
            yield row
    if not files:
        for row in _read_data_set(path, name, split, data_files, revision):
            found = True
            yield row
    if not found:
        raise DataError(f"{path}: no rows. Give a file that holds data.")


def _local_files(
    path: str, ds_type: FileKind | None, data_files: Iterable[str] | None
) -> list[Path]:
    """The local files to read one by one; none where `datasets` is to read a folder or hub id."""
    place = Path(path)
    if place.is_dir() and data_files is not None:
        return [_existing(place / file) for file in data_files]
    if place.is_dir() and ds_type is not None:
        return _files_of_kind(place, ds_type)
    if place.is_file():
        return [place]
    if not place.exists() and _looks_like_a_file(path):
        _existing(place)
    return []


def _files_of_kind(folder: Path, ds_type: FileKind) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if kind_of_file(file.name) == ds_type)
    if not files:
        raise DataError(f"{folder}: no {ds_type} file in this folder. Name one in `data_files`.")
    return files


def _looks_like_a_file(path: str) -> bool:
    return kind_of_file(path) is not None or not _HUB_ID.fullmatch(path)


def _existing(path: Path) -> Path:
    if path.exists():
        return path
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    guess = f" Did you mean {path.parent / close[0]}?" if close else ""
    raise DataError(f"no such data file: {path}.{guess}")


def _read_file(
    path: Path, ds_type: FileKind | None, has_header: bool, on_bad_row: OnBadRow | None
) -> Iterator[Row]:
    kind = ds_type or kind_of_file(path.name)
    try:
        if kind == "jsonl":
            yield from read_json_line_rows(path, on_bad_row)
        elif kind == "json":
            yield from read_json_rows(path, on_bad_row)
        elif kind in ("csv", "tsv"):
            delimiter = "," if kind == "csv" else "\t"
            yield from read_delimited_rows(path, delimiter, has_header, on_bad_row)
        elif kind == "text":
            yield from read_text_rows(path)
        elif kind == "parquet":
            yield from read_parquet_rows(path)
        else:
            kinds = ", ".join(sorted(set(SUFFIXES.values())))
            raise DataError(f"{path}: unknown kind of file. Set `ds_type` to one of {kinds}.")
    except (OSError, EOFError, zlib.error) as error:
        # The last two: a compressed file that is damaged or cut off.
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise DataError(f"cannot read {path}: {reason}.") from error


def _read_data_set(
    path: str,
    name: str | None,
    split: str,
    data_files: Iterable[str] | None,
    revision: str | None,
) -> Iterator[Row]:
    """Rows of a folder or a hub id, through the `datasets` library."""
    # Heavy: only these two kinds of source need it.
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        if (Path(path) / "state.json").exists() or (Path(path) / "dataset_dict.json").exists():
            loaded: Any = datasets.load_from_disk(path)
            rows: Any = loaded[split] if isinstance(loaded, datasets.DatasetDict) else loaded
        else:
            files = list(data_files) if data_files is not None else None
            rows = datasets.load_dataset(
                path, name, split=split, data_files=files, revision=revision
            )
    # The library raises plain errors of every kind for a wrong name, split or connection.
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        DatasetsError,
    ) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"cannot load the data set `{path}` (split `{split}`): {reason[:200].rstrip('.')}. "
            "Check `path`, `name`, `split` and the network, or give a local file."
        ) from error
    for number, fields in enumerate(rows, start=1):
        yield Row(f"{path}[{split}]:{number}", fields)
