"""Rows from files: each kind, and each kind of damage with its file and line."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.file_rows import TEXT_PIECE_CHARACTERS
from luthier.data.rows import Row
from luthier.data.sources import read_rows
from luthier.errors import DataError

TWO = [{"text": "one"}, {"text": "two"}]


def fields(path: Path | str, *arguments: Any, **more: Any) -> list[Any]:
    return [dict(row.fields) for row in read_rows(str(path), *arguments, **more)]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "one"}\n\n{"text": "two"}'),
        ("a.jsonl", b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}\r\n'),
        ("a.json", '[{"text": "one"},\n {"text": "two"}]'),
        ("a.json", '\ufeff[\n{"text":"one"}\n,\n{"text":"two"}\n]\n'),
        ("a.json", '{"text": "one"}\n{"text": "two"}\n'),
        ("a.csv", "text\none\n\ntwo\n"),
        ("a.csv", '\ufefftext\n"one"\r\n"two"'),
        ("a.tsv", "text\none\ntwo\n"),
    ],
)
def test_every_kind_of_file_gives_the_same_two_rows(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    assert fields(write(tmp_path / name, content)) == TWO


def test_parquet_rows_are_numbered(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(TWO), path)
    rows = list(read_rows(str(path)))
    assert [dict(row.fields) for row in rows] == TWO
    assert [row.line for row in rows] == [1, 2]


def test_a_line_is_that_of_the_rows_beginning(tmp_path: Path) -> None:
    csv = write(tmp_path / "a.csv", 'text,b\n"one\nmore",1\n\ntwo,2\n')
    assert [row.line for row in read_rows(str(csv))] == [2, 5]
    listed = write(tmp_path / "a.json", '[\n{"a":\n1},\n\n{"a": 2}]')
    assert [row.line for row in read_rows(str(listed))] == [2, 5]
    lines = write(tmp_path / "a.jsonl", '\n{"a": 1}\n')
    assert [row.where for row in read_rows(str(lines))] == [f"{lines}:2"]


def test_csv_quotes_hold_delimiters_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'a,b\n"x, ""y""\nz",\\"\n')
    with pytest.raises(DataError):
        # A bare quote after a backslash is damage in RFC 4180, not an escape.
        fields(write(tmp_path / "b.csv", 'a,b\n"x"y,1\n'))
    assert fields(path) == [{"a": 'x, "y"\nz', "b": '\\"'}]


def test_a_csv_without_header_is_known_by_index(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "3,news\n4,more\n")
    assert fields(path, has_header=False) == [{0: "3", 1: "news"}, {0: "4", 1: "more"}]


def test_ds_type_overrules_the_suffix(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.data", '{"text": "one"}\n{"text": "two"}\n')
    assert fields(path, "jsonl") == TWO


def test_data_files_and_ds_type_choose_files_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", '{"text": "two"}\n')
    write(tmp_path / "a.jsonl", '{"text": "one"}\n')
    write(tmp_path / "notes.txt", "no data")
    assert fields(tmp_path, data_files=["b.jsonl", "a.jsonl"]) == TWO[::-1]
    assert fields(tmp_path, "jsonl") == TWO
    with pytest.raises(DataError, match="no csv file"):
        fields(tmp_path, "csv")


def test_a_saved_data_set_is_read_with_its_split(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    saved = datasets.DatasetDict({"dev": datasets.Dataset.from_list(TWO)})
    saved.save_to_disk(str(tmp_path / "saved"))
    assert fields(tmp_path / "saved", split="dev") == TWO
    with pytest.raises(DataError, match="split `train`"):
        fields(tmp_path / "saved")


def test_text_pieces_laid_end_to_end_are_the_file(tmp_path: Path) -> None:
    lines = ["short\n", "\n", "word " * 900 + "\n", "x" * 2500 + "\n", "last"]
    path = write(tmp_path / "a.txt", "".join(lines))
    pieces = [row["text"] for row in fields(path)]
    assert "".join(pieces) == "".join(lines)
    assert max(map(len, pieces)) <= TEXT_PIECE_CHARACTERS
    assert all(piece.endswith(" ") for piece in pieces[1:5])


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": 2', 2, "cut off"),
        ("a.jsonl", '{"a": 1}\n{"a": "tw', 2, "cut off"),
        ("a.jsonl", '{"a": 1}\n[1]\n', 2, "a list of 1"),
        ("a.jsonl", '{"a": NaN}\n', 1, "NaN is not JSON"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', 2, "UTF-8"),
        ("a.jsonl", "[" * 100_000, 1, "not valid JSON"),
        ("a.json", '[{"a": 1},\n{"a": ', 2, "cut off"),
        ("a.json", '[{"a": 1}\n', 1, "the file ends"),
        ("a.json", '[{"a": 1},\n7]', 2, "expected a JSON object"),
        ("a.json", '"text"', 1, "a list of rows"),
        ("a.json", b'[\n"\xff"]', 2, "UTF-8"),
        ("a.csv", "a,b\n1,2\n1\n", 3, "1 fields where the file has 2 columns"),
        ("a.csv", 'a,b\n1,2\n1,"open\nmore\n', 3, "unexpected end of data"),
        ("a.csv", "a,a\n1,2\n", 1, "twice in the header"),
        ("a.csv", b"a,b\n1,\xe9\n", 2, "UTF-8"),
    ],
)
def test_damage_stops_with_file_line_and_reason(
    tmp_path: Path, name: str, content: str | bytes, line: int, reason: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        fields(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "one"}\nbroken\n7\n{"text": "two"}\n'),
        ("a.json", '[{"text": "one"}, 7, null, {"text": "two"}]'),
        ("a.csv", 'text\none\na,b\n"x"y\ntwo\n'),
    ],
)
def test_bad_rows_are_handed_over_and_left_out(tmp_path: Path, name: str, content: str) -> None:
    errors: list[DataError] = []
    assert fields(write(tmp_path / name, content), on_bad_row=errors.append) == TWO
    assert len(errors) == 2


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
@pytest.mark.parametrize("content", ["", "\n\n", "  \n"])
def test_an_empty_file_is_an_error(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=r"no rows|1 fields|holds"):
        list(read_rows(str(path)))


def test_a_header_alone_and_an_empty_list_hold_no_rows(tmp_path: Path) -> None:
    for name, content in [("a.csv", "text,label\n"), ("a.json", "[]")]:
        with pytest.raises(DataError, match="no rows"):
            fields(write(tmp_path / name, content))


def test_a_missing_file_is_named_with_its_nearest_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "{}\n")
    with pytest.raises(
        DataError, match=r"no such data file: .*trian\.jsonl\. Did you mean .*train"
    ):
        fields(tmp_path / "trian.jsonl")


def test_a_file_of_unknown_kind_asks_for_ds_type(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Set `ds_type` to one of csv, json"):
        fields(write(tmp_path / "rows.xyz", "a"))


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet file"):
        fields(write(tmp_path / "a.parquet", "no parquet"))


def test_an_unreachable_hub_id_is_a_data_error(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("offline")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError, match=r"cannot load the data set `who/what`.*offline"):
        fields("who/what")


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1}\nbroken\n')
    rows = read_rows(str(path))
    assert next(rows) == Row(f"{path}:1", {"a": 1})


def test_a_field_above_the_csv_modules_own_limit_is_read(tmp_path: Path) -> None:
    long = "x" * 200_000
    assert fields(write(tmp_path / "a.csv", f"text\n{long}\n")) == [{"text": long}]


def test_json_text_with_a_line_separator_stays_one_row(tmp_path: Path) -> None:
    row = {"text": "a\u2028b\x85c"}
    path = write(tmp_path / "a.jsonl", json.dumps(row, ensure_ascii=False) + "\n")
    assert fields(path) == [row]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_a_file_compressed_with_gzip_is_read_like_the_file_inside(
    tmp_path: Path, suffix: str
) -> None:
    texts = {".jsonl": '{"a": "1"}\n', ".json": '[{"a": "1"}]', ".csv": "a\n1\n"}
    file = tmp_path / f"rows{suffix}.gz"
    file.write_bytes(gzip.compress(texts[suffix].encode()))
    assert [dict(row.fields) for row in read_rows(str(file))] == [{"a": "1"}]
    file.write_bytes(gzip.compress(texts[suffix].encode())[:-6])
    with pytest.raises(DataError, match=r"cannot read .*rows"):
        list(read_rows(str(file)))
