"""What a study computes in: decided before its first run, and the same for all of them.

It holds for arms, seeds, scores and resumes, also on another machine: a difference between arms is
then never one of rounding.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.errors import OutputError
from luthier.files import RunLayout, read_json, write_json
from luthier.recipe.resolve import resolve_bf16
from luthier.recipe.study import LoadedStudy
from luthier.study.data import Say
from luthier.study.ledger import locate_run

PRECISION_FILE = "precision.json"


def settle_precision(loaded: LoadedStudy, folder: Path, say: Say) -> None:
    """Decide, where nothing is decided yet, and write it down.

    What the recipes all ask for; with `bf16: auto` what is faster here.

    Raises:
        OutputError: no decision could be had.
    """
    path = folder / PRECISION_FILE
    if path.exists():
        return
    decision = _find_older(loaded, folder) or _find_asked(loaded) or _ask_here()
    write_json(path, decision)
    say(f"computes in {decision['precision']} ({decision['why']}), all runs alike")


def read_precision(folder: Path) -> Any:
    """`float32` or `bfloat16`: what the study in `folder` computes in, its scores too."""
    return read_json(folder / PRECISION_FILE)["precision"]


def _find_asked(loaded: LoadedStudy) -> dict[str, str] | None:
    asked = {resolve_bf16(arm.recipe) for arm in loaded.arms}
    if asked == {True}:
        return {"precision": "bfloat16", "why": "bf16: true"}
    return {"precision": "float32", "why": "bf16: false"} if asked == {False} else None


def _find_older(loaded: LoadedStudy, folder: Path) -> dict[str, str] | None:
    """What the runs have begun in, of a study that is older than this file."""
    for layout in _list_layouts(loaded, folder):
        if layout.provenance.exists():
            # Only here, so that the process which drives a study need not load torch.
            from luthier.train.begun import read_begun

            begun = read_begun(layout)
            return None if begun is None else {"precision": begun.precision, "why": "as it began"}
    return None


def _list_layouts(loaded: LoadedStudy, folder: Path) -> Iterator[RunLayout]:
    for arm in loaded.arms:
        if resolve_bf16(arm.recipe) == "auto":
            for seed in loaded.study.seeds:
                yield RunLayout(locate_run(folder, arm.name, seed).folder)


def _ask_here() -> dict[str, str]:
    """The decision of `bf16: auto`, from a process of its own: this one holds no torch."""
    done = subprocess.run(
        [sys.executable, "-m", "luthier.precision"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise OutputError(
            f"it could not be found out what to compute in:\n{done.stderr.strip()[-2000:]}\n"
            "`luthier doctor` tells more; `bf16: false` in `base` asks for float32."
        )
    return json.loads(done.stdout)
