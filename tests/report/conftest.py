from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from coin_study import CORRECT, STUDY, write_run, write_scores


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[..., Path]:
    """Write the study file with the given changes, and nothing else."""

    def write(**changes: Any) -> Path:
        root = tmp_path / "study"
        root.mkdir(exist_ok=True)
        (root / "study.yaml").write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
        return root

    return write


@pytest.fixture
def study_directory(write_study: Callable[..., Path]) -> Path:
    """The whole study, every run complete."""
    root = write_study()
    write_scores(root / "base" / "eval", CORRECT["base"])
    for arm in STUDY["arms"]:
        write_run(root, arm, 7, STUDY)
    return root
