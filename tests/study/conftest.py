"""A tiny study, and workers without processes for where only the driving matters."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from driven_study import STUDY, Driven

from luthier.study import worker


@pytest.fixture(scope="session")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 24 numbers and whether they are odd."""
    file = tmp_path_factory.mktemp("numbers") / "numbers.csv"
    lines = [f"{number},{('even', 'odd')[number % 2]}" for number in range(100, 124)]
    file.write_text("\n".join(["number,label", *lines]) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def study_text(tiny_base: Path, numbers: Path) -> str:
    return STUDY.format(data=numbers, base=tiny_base)


@pytest.fixture
def driven(
    tmp_path: Path, study_text: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Driven]:
    """Start a study of one step an arm from `study_text`, changed by a function of the text."""

    def start(text: str = study_text) -> Driven:
        study = Driven(tmp_path, text.replace("max_steps: 50", "max_steps: 1"))

        class InProcess:
            def __init__(self, command: list[str], **_: Any) -> None:
                self.arguments = command[2:]

                self.stdin = self.stderr = None
                self.code: int | None = None

            def poll(self) -> int:
                self.code = self.work() if self.code is None else self.code
                return self.code

            def wait(self) -> int:
                return self.poll()

            def work(self) -> int:
                study.worked.append(" ".join(self.arguments[3:]))
                monkeypatch.setattr(sys, "argv", self.arguments)
                return worker.main()

        stand_in = SimpleNamespace(Popen=InProcess, PIPE=None)
        monkeypatch.setattr("luthier.study.crew.subprocess", stand_in)
        return study

    monkeypatch.setattr(worker, "end_with_parent", lambda: None)
    return start
