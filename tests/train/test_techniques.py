"""Every technique on one family or another: learns, loads, merges, and outlives a SIGKILL.

`python scripts/kill_matrix.py` does the same for each technique on each family.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
TABLE = runpy.run_path(str(SCRIPTS / "matrix_techniques.py"))
FAMILIES = ("gpt2", "gpt_neox", "gemma", "llama", "mistral", "qwen2", "qwen3")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Technique → what came of it. In a process of its own, which forks what it kills."""
    folder = tmp_path_factory.mktemp("matrix")
    command = [sys.executable, SCRIPTS / "kill_matrix.py", "--diagonal", "--kills", 1]
    places = ["--folder", folder / "runs", "--results", folder / "results.jsonl"]
    done = subprocess.run(
        [*map(str, [*command, *places])], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    rows = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    return {row["technique"]: row for row in rows}


@pytest.mark.parametrize("technique", TABLE["TECHNIQUES"])
def test_it_learns_loads_merges_and_resumes_with_the_same_bytes_after(
    technique: str, outcomes: dict[str, dict[str, Any]]
) -> None:
    outcome = outcomes[technique]
    assert outcome["problems"] == [], outcome["family"]
    assert len(outcome["kills"]) >= 1


def test_every_family_comes_at_least_twice(outcomes: dict[str, dict[str, Any]]) -> None:
    counts = Counter(row["family"] for row in outcomes.values())
    assert set(counts) == set(FAMILIES)
    assert min(counts.values()) >= 2
