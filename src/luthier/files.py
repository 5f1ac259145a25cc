"""Atomic writes, JSON lines and the layout of a run directory.

A file either has its old content or its new content, never half of it: everything is written
beside its destination, flushed to disk, then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.errors import DataError, OutputError


@contextlib.contextmanager
def explained_output_errors(path: Path) -> Generator[None]:
    """Turn the operating system's refusal to write `path` into an OutputError with a mend."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {path}: {reason}. Choose another --output, or free space and "
            "check the permissions there."
        ) from error


def find_user_file(name: str, variable: str) -> Path:
    """A file of the user's own, for all projects: `variable` names it, else their data folder."""
    named = os.environ.get(variable)
    if named:
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME")
    folder = Path(data) if data else Path.home() / ".local" / "share"
    return folder / "luthier" / name


def make_directory(path: Path) -> Path:
    """Create `path` with its parents; raises OutputError where that is impossible."""
    with explained_output_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise OutputError(f"cannot write {path}: permission denied. Choose another --output.")
    return path


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically (UTF-8)."""
    with explained_output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".staged-{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON; NaN is refused (it is not JSON)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON file; raises DataError naming the file and the place of the damage."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid JSON ({error}).") from error


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object a line, atomically; returns the number of rows."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    write_text(path, "".join(f"{line}\n" for line in lines))
    return len(lines)


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the object of each non-empty line; raises DataError with file and line."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except UnicodeDecodeError as error:
                raise DataError(f"{path}:{number}: not UTF-8 ({error.reason}).") from error
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not valid JSON ({error.msg}).") from error
            if not isinstance(row, dict):
                found = json.dumps(row)[:40]
                raise DataError(f"{path}:{number}: expected a JSON object, found {found}.")
            yield row


@contextlib.contextmanager
def staged_directory(
    destination: Path, existing: Literal["replace", "keep"] = "replace"
) -> Generator[Path]:
    """Yield an empty folder that becomes `destination` in one rename when the block succeeds.

    If the process dies inside the block, only a hidden `.staged-*` folder is left, which
    `remove_staged` clears.

    Args:
        existing: what becomes of a `destination` that is there by then. `keep` is for what is
            named by its content: of several processes the first one's stays, and the others
            lose nothing by throwing their own away.
    """
    with explained_output_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=destination.parent, prefix=".staged-"))
        try:
            yield staged
            for file in staged.rglob("*"):
                if file.is_file():
                    _flush_to_disk(file)
            staged.chmod(0o755)
            (_replace if existing == "replace" else _rename_or_discard)(staged, destination)
            _flush_to_disk(destination.parent)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise


def _replace(staged: Path, destination: Path) -> None:
    if destination.exists():
        # rename cannot replace a non-empty folder: step the old one aside first.
        old = destination.parent / f".staged-old-{destination.name}"
        shutil.rmtree(old, ignore_errors=True)
        destination.rename(old)
        staged.rename(destination)
        shutil.rmtree(old, ignore_errors=True)
    else:
        staged.rename(destination)


def _rename_or_discard(staged: Path, destination: Path) -> None:
    try:
        staged.rename(destination)
    except OSError as error:
        # Asked afterwards, not before: another process may come in between.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(staged, ignore_errors=True)


def remove_staged(parent: Path) -> None:
    """Remove what a killed process left half-written in `parent`."""
    for leftover in parent.glob(".staged-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def remove_directory(path: Path) -> None:
    """Remove a folder so that a process killed half-way leaves it whole or gone."""
    with explained_output_errors(path):
        aside = path.parent / f".staged-old-{path.name}"
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class RunLayout:
    """Where everything of one run (one arm, one seed) lies; see docs/architecture.md."""

    root: Path

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def provenance(self) -> Path:
        return self.root / "provenance.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.root / "adapter"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def evaluations(self) -> Path:
        return self.root / "eval"

    @property
    def error(self) -> Path:
        return self.root / "error.json"

    @property
    def done(self) -> Path:
        return self.root / "done.json"
