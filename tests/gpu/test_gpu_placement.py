"""A step's tensors lie on the device, nothing on the processor is waited for, no import starts it.

Seen without a GPU, on a device that has shapes and no numbers: see fake_gpu.py.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

SCRIPT = Path(__file__).with_name("fake_gpu.py")
CASES = ("imports", *runpy.run_path(str(SCRIPT))["CASES"])


@pytest.fixture(scope="module")
def problems() -> dict[str, list[str]]:
    """Case → what went wrong in it. A process of its own, for the device stays registered."""
    done = subprocess.run(
        [sys.executable, SCRIPT],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["case"]: row["problems"] for row in rows}


@pytest.mark.parametrize("case", CASES)
def test_no_tensor_is_left_behind_and_no_number_waited_for(
    case: str, problems: dict[str, list[str]]
) -> None:
    if case not in problems:
        pytest.skip("this PyTorch cannot make up a device")
    assert problems[case] == []
