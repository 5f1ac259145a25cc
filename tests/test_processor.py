"""How threads share the cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from luthier.processor import share_cores

SHOW = (
    "import luthier, os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('KMP_BLOCKTIME'))"
)


def ask(**settings: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        capture_output=True,
        text=True,
        check=True,
        env={**kept, **settings},
    )
    return done.stdout.strip()


def test_threads_that_wait_sleep_soon_unless_the_user_says_otherwise() -> None:
    assert ask() == "500 0"
    assert ask(GOMP_SPINCOUNT="7") == "7 0"
    assert ask(OMP_WAIT_POLICY="active") == "None None"


def test_it_is_said_before_torch_is_there() -> None:
    code = "import sys, luthier; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_saying_it_twice_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "9")
    share_cores()
    assert os.environ["GOMP_SPINCOUNT"] == "9"
