"""What a study's folder says of each run: the files are the state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from luthier.evaluate.run import EvaluationPaths
from luthier.files import RunLayout
from luthier.recipe.study import BASE_ARM, Arm, Study

Status = Literal["done", "failed", "unfinished", "missing"]


class Run(NamedTuple):
    """One arm and seed, or the untouched base model (seed None)."""

    arm: str
    seed: int | None
    folder: Path

    @property
    def title(self) -> str:
        return self.arm if self.seed is None else f"{self.arm} seed {self.seed}"


def list_runs(study: Study, arms: Sequence[Arm], folder: Path) -> Iterator[Run]:
    """The base model first, then every seed of every arm."""
    yield Run(BASE_ARM, None, folder / BASE_ARM)
    for arm in arms:
        for seed in study.seeds:
            yield Run(arm.name, seed, folder / arm.name / f"seed-{seed}")


def unscored_tasks(run: Run, study: Study) -> list[str]:
    """Names of the tasks whose summary is not there yet."""
    evaluations = RunLayout(run.folder).evaluations
    return [
        task.name
        for task in study.tasks
        if not EvaluationPaths.of(evaluations, task.name).summary.exists()
    ]


def read_status(run: Run, study: Study) -> Status:
    layout = RunLayout(run.folder)
    trained = run.seed is None or layout.done.exists()
    if trained and not unscored_tasks(run, study):
        return "done"
    if layout.error.exists():
        return "failed"
    return "unfinished" if layout.root.exists() else "missing"
