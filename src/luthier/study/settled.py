"""What a study settles before its first run and then keeps: its precision, and a run's threads.

The precision holds for arms, seeds, scores and resumes, also on another machine: a difference
between arms is then never one of rounding. The threads hold so that a run which is gone on with
adds up in the order in which it began.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from luthier.errors import OutputError
from luthier.files import RunLayout, read_json, write_json
from luthier.precision_store import find_gain
from luthier.processor import CPUINFO, gpu_may_be_here, read_memory_bytes, read_processor
from luthier.recipe.resolve import resolve_bf16
from luthier.recipe.study import LoadedStudy
from luthier.study.data import Say
from luthier.study.ledger import Run, locate_run
from luthier.study.planned import read_peak_gib

SETTLED_FILE = "settled.json"
# Of the memory that is there: other programs want some, and a plan may be off by a sixth.
MEMORY_SHARE = 0.7


class Slots(NamedTuple):
    """How many runs go at once.

    Attributes:
        jobs: runs at once.
        threads: of each; None for as many as torch takes by itself.
    """

    jobs: int
    threads: int | None


def settle_precision(loaded: LoadedStudy, folder: Path, say: Say) -> None:
    """Decide, where nothing is decided yet, and write it down.

    What the recipes all ask for; with `bf16: auto` what is faster here.

    Raises:
        OutputError: no decision could be had.
    """
    path = folder / SETTLED_FILE
    if path.exists():
        return
    decision = _find_older(loaded, folder) or _find_asked(loaded) or _ask_here()
    write_json(path, decision)
    say(f"computes in {decision['precision']} ({decision['why']}), all runs alike")


def read_precision(folder: Path) -> Any:
    """`float32` or `bfloat16`: what the study in `folder` computes in, its scores too."""
    return read_json(folder / SETTLED_FILE)["precision"]


def settle_slots(runs: Sequence[Run], folder: Path, asked: int | None, *, begun: bool) -> Slots:
    """How many runs go at once, and the threads of each, which are kept with the study.

    On a processor a small model's step gains little from a second thread: two runs on a thread
    each take less time than one after the other on two. Each needs its memory.

    Args:
        runs: all that the study trains.
        asked: `--jobs`.
    """
    values = read_json(folder / SETTLED_FILE)
    cores = read_processor(CPUINFO).cores
    if "threads" not in values:
        fit = 1 if begun else _count_jobs(len(runs), cores, folder)
        jobs = asked or fit
        values["threads"] = max(1, cores // jobs) if jobs > 1 and not gpu_may_be_here() else None
        write_json(folder / SETTLED_FILE, values)
    threads: int | None = values["threads"]
    if asked is not None:
        return Slots(asked, threads)
    if threads is None:
        return Slots(1, None)
    return Slots(min(_count_jobs(len(runs), cores, folder), max(1, cores // threads)), threads)


def _count_jobs(runs: int, cores: int, folder: Path) -> int:
    """As many as cores and memory carry; one on a GPU, and where memory is not planned."""
    peak_gib = read_peak_gib(folder)
    # Whoever has said how many threads a process takes has said how the machine is shared.
    if gpu_may_be_here() or peak_gib is None or "OMP_NUM_THREADS" in os.environ:
        return 1
    room = int(MEMORY_SHARE * read_memory_bytes() / 2**30 / peak_gib)
    return max(1, min(runs, cores, room))


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
    """The decision of `bf16: auto`, if need be from a process of its own: this has no torch."""
    measured = None if gpu_may_be_here() else find_gain()
    if measured is not None:
        return {"precision": measured.precision, "why": measured.why}
    done = subprocess.run(
        [sys.executable, "-m", "luthier.precision"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise OutputError(
            f"it could not be found out what to compute in:\n{done.stderr.strip()[-2000:]}\n"
            "`luthier doctor` tells more; `bf16: false` in `base` asks for float32."
        )
    return json.loads(done.stdout)
