"""The smoke part: every file's outcome becomes a cell, also where it fails, hangs or cannot run."""

from __future__ import annotations

import ast
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from benchmarks.gpu import smoke
from benchmarks.gpu.record import Record
from benchmarks.gpu.smoke import FILES, TESTS, Suite, read_unordered, run_file, run_process

MARK = "import pytest\n\npytestmark = pytest.mark.gpu\n"
# Imported by what several test files share; each needs what these need.
SHARED = {"verification": Path("verification"), "gpu_cases": TESTS}


def write_tests(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(f"{MARK}\n{text}", encoding="utf-8")
    return file


def run_part(folder: Path, files: tuple[Suite, ...], monkeypatch: Any) -> dict[str, Any]:
    monkeypatch.setattr(smoke, "TESTS", folder)
    monkeypatch.setattr(smoke, "FILES", files)
    record = Record("smoke", folder / "results", size="small", budget_seconds=300)
    smoke.run(record)
    record.finish()
    return json.loads(record.path.read_text(encoding="utf-8"))


def test_a_cell_counts_what_passed_and_failed_and_says_what_was_skipped_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tests(
        tmp_path,
        "test_mixed.py",
        "def test_right():\n    pass\n\n"
        "def test_wrong():\n    assert 1 + 1 == 3, 'x' * 5000\n\n"
        "def test_elsewhere():\n    pytest.skip('a GPU only')\n",
    )
    files = (Suite("test_mixed.py", 60, small=True), Suite("test_large.py", 60))
    found = run_part(tmp_path, files, monkeypatch)
    assert set(found["cells"]) == {"doctor", "test_mixed.py"}
    assert found["status"] == "failed"
    assert found["cells"]["doctor"]["found"]["device"]
    cell = found["cells"]["test_mixed.py"]
    assert cell["tests"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert cell["skipped_because"] == {"a GPU only": 1}
    assert cell["failed_tests"] == ["test_wrong"]
    assert "1 + 1" in cell["failed"]
    assert len(cell["failed"]) <= 1500


def test_a_process_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    text = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    log, started = tmp_path / "log.txt", time.monotonic()
    assert run_process([sys.executable, "-c", text], log, 5) is None
    assert time.monotonic() - started < 60
    for pid in map(int, log.read_text().split()):  # none where the machine is too slow for it
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(30)
    assert run_process([sys.executable, "-c", "raise SystemExit(3)"], log, 60) == 3


def test_a_file_that_was_killed_shows_where_it_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(_command: list[str], log: Path, _seconds: float) -> None:
        log.write_text("test_slow.py::test_first PASSED\ntest_slow.py::test_second ")

    monkeypatch.setattr(smoke, "run_process", hang)
    cell = run_file(tmp_path / "test_slow.py", 12)
    assert cell["failed"].startswith("killed after 12 s")
    assert cell["failed"].endswith("test_second")


def test_what_cannot_run_here_is_said_and_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (Suite("test_x.py", 60, ("no_such_package",), small=True),)
    found = run_part(tmp_path, files, monkeypatch)
    assert "needs no_such_package: pip install" in found["cells"]["test_x.py"]["not_run"]
    assert found["status"] == "done"
    monkeypatch.setattr(smoke, "is_here", lambda package: package != "pytest")
    record = Record("smoke", tmp_path / "without", size="small", budget_seconds=300)
    smoke.run(record)
    assert "pytest is not installed" in record.cells["tests"]["failed"]


def test_a_file_that_cannot_be_imported_fails_with_the_reason(tmp_path: Path) -> None:
    cell = run_file(write_tests(tmp_path, "test_broken.py", "import no_such_package\n"), 60)
    assert "no_such_package" in cell["failed"]


def test_operations_in_no_fixed_order_are_read_from_the_last_line() -> None:
    log = 'passed\noperations in no fixed order: {"Flash Attention": 3}\n'
    assert read_unordered(log) == {"Flash Attention": 3}
    assert read_unordered("passed\n") == {}


def test_every_file_has_a_turn_and_says_which_packages_it_needs() -> None:
    assert {file.name for file in FILES} == {file.name for file in TESTS.glob("test_*.py")}
    for file in FILES:
        needed = {"peft", "trl", "galore_torch"} & find_imports(TESTS / file.name)
        assert needed == set(file.needs), file.name


def find_imports(file: Path, seen: frozenset[Path] = frozenset()) -> set[str]:
    """The packages that a file imports, itself or through what tests share."""
    if file in seen or not file.exists():
        return set()
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` or `from package.module import name`.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            first, _, rest = name.partition(".")
            found.add(first)
            folder = SHARED.get(first)
            if folder is not None:
                own = folder / f"{rest.partition('.')[0] or first}.py"
                found |= find_imports(own, seen | {file})
    return found
