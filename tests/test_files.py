"""Atomic writes: old content or new content, never half of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from luthier.errors import DataError, OutputError
from luthier.files import (
    make_directory,
    read_json,
    read_json_lines,
    remove_directory,
    remove_staged,
    staged_directory,
    write_json,
    write_json_lines,
    write_text,
)


def test_text_is_written_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "x.txt", "Zürich")
    write_text(tmp_path / "a" / "x.txt", "Bern")
    assert (tmp_path / "a" / "x.txt").read_text(encoding="utf-8") == "Bern"
    assert len(list((tmp_path / "a").iterdir())) == 1


def _write_beyond_the_limit(file: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try:
        write_text(Path(file), "x" * 1000)
    except OutputError:
        os._exit(7)


def test_a_disk_that_takes_no_more_leaves_the_old_text(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", "old")
    process = multiprocessing.get_context("fork").Process(
        target=_write_beyond_the_limit, args=(str(tmp_path / "x.txt"),)
    )
    process.start()
    process.join()
    assert process.exitcode == 7
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
    assert (tmp_path / "x.txt").read_text() == "old"


def test_json_refuses_what_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_json_lines_come_back_in_order(tmp_path: Path) -> None:
    rows = [{"id": number, "text": "ä\n"} for number in range(3)]
    assert write_json_lines(tmp_path / "x.jsonl", rows) == 3
    assert list(read_json_lines(tmp_path / "x.jsonl")) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": ', r"x.jsonl:2: not valid JSON"),
        (b'{"a": 1}\n\n[1, 2]\n', r"x.jsonl:3: expected a JSON object, found \[1, 2\]"),
        (b'{"a": "\xff\xfe"}\n', r"x.jsonl:1: not UTF-8"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_json_lines(tmp_path / "x.jsonl"))


def test_a_missing_or_unreadable_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_json(tmp_path / "x.json")
    with pytest.raises(DataError, match="cannot read"):
        read_json(tmp_path)
    with pytest.raises(DataError, match="cannot read"):
        list(read_json_lines(tmp_path / "x.jsonl"))


@pytest.mark.parametrize("there_before", [False, True])
def test_a_staged_directory_appears_whole(there_before: bool, tmp_path: Path) -> None:
    place = tmp_path / "result"
    if there_before:
        place.mkdir()
        (place / "old").touch()
    with staged_directory(place) as staged:
        (staged / "new").write_text("1")
        assert not (place / "new").exists()
    assert [path.name for path in place.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def _fail_while_staging(place: Path) -> None:
    with staged_directory(place) as staged:
        (staged / "new").touch()
        raise RuntimeError


def test_a_staged_directory_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "result"
    place.mkdir()
    (place / "old").touch()
    with pytest.raises(RuntimeError):
        _fail_while_staging(place)
    assert [path.name for path in place.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def _die_while_staging(place: str) -> None:
    with staged_directory(Path(place)) as staged:
        (staged / "half").write_text(json.dumps([1]))
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_leaves_is_hidden_and_can_be_cleared(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=_die_while_staging, args=(str(tmp_path / "result"),)
    )
    process.start()
    process.join()
    (tmp_path / ".staged-recipe.yaml.abc").touch()  # of a killed write_text
    assert not (tmp_path / "result").exists()
    assert len(list(tmp_path.glob(".staged-*"))) == 2
    remove_staged(tmp_path)
    assert not list(tmp_path.iterdir())


def _stage_when_all_are_ready(place: str, number: int, ready: Barrier) -> None:
    with staged_directory(Path(place), existing="keep") as staged:
        (staged / "content").write_text("the same")
        (staged / f"by {number}").touch()
        ready.wait(timeout=30)


def test_of_several_processes_that_stage_the_same_one_wins_and_none_fails(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(10):
        place, ready = tmp_path / str(attempt), context.Barrier(6)
        processes = [
            context.Process(target=_stage_when_all_are_ready, args=(str(place), number, ready))
            for number in range(6)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 6
        assert (place / "content").read_text() == "the same"
        assert len(list(place.iterdir())) == 2, "a mixture of two"
    assert len(list(tmp_path.iterdir())) == 10, "the losers' own is left"


def test_what_is_kept_stays_as_it_was(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with staged_directory(tmp_path / "entry", existing="keep") as staged:
            (staged / "content").write_text(text)
    assert (tmp_path / "entry" / "content").read_text() == "first"


def test_a_folder_is_removed_in_one_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "step-000001"
    place.mkdir()
    (place / "weights").touch()
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # killed right after the rename
        remove_directory(place)
    assert not place.exists()
    remove_staged(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["/proc/luthier", "file/below"])
def test_a_folder_that_cannot_be_made_is_an_output_error(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*Choose another --output"):
        make_directory(tmp_path / place)
