"""Runs that are killed with SIGKILL and resumed end as those that were not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_test.py"


def test_killed_and_resumed_runs_end_with_the_same_bytes(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    # A third of the kills each: LoRA + DoRA + NEFTune + dropout + accumulation, full fine-tuning,
    # and ReLoRA around its restarts.
    arguments = ["--kills", 8, "--base-model", tiny_base, "--data", chat_file]
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments), "--folder", tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differences: all equal" in done.stdout
