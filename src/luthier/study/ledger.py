"""What a study's folder says of each run: the files are the state."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from luthier.errors import OutputError
from luthier.files import RunLayout
from luthier.recipe.schema import Recipe
from luthier.recipe.study import BASE_ARM, Arm, Study

Status = Literal["done", "failed", "unfinished", "not started"]

# Beside the results of a run: what its worker is to do.
PLANNED_RECIPE = "planned.yaml"


class Run(NamedTuple):
    """One arm and seed, or the untouched base model (seed None)."""

    arm: str
    seed: int | None
    folder: Path

    @property
    def title(self) -> str:
        return self.arm if self.seed is None else f"{self.arm} seed {self.seed}"


def locate_run(folder: Path, arm: str, seed: int | None) -> Run:
    """The run of `arm` and `seed` in the study's folder; seed None is the untouched base model."""
    place = folder / BASE_ARM if seed is None else folder / arm / f"seed-{seed}"
    return Run(arm, seed, place)


def list_runs(study: Study, arms: Sequence[Arm], folder: Path) -> Iterator[Run]:
    """The base model first, then every seed of every arm."""
    yield locate_run(folder, BASE_ARM, None)
    for arm in arms:
        for seed in study.seeds:
            yield locate_run(folder, arm.name, seed)


def list_stages(run: Run, arms: Sequence[Arm], folder: Path) -> list[Run]:
    """The runs that `run` stands on, the one it trains on from first; none without `after`."""
    after_of = {arm.name: arm.after for arm in arms}
    stages: list[Run] = []
    name = after_of.get(run.arm)
    while name is not None and run.seed is not None:
        stages.append(locate_run(folder, name, run.seed))
        name = after_of.get(name)
    return stages


def plan_recipe(arm: Arm, seed: int, folder: Path) -> Recipe:
    """The whole recipe of one run of the study in `folder`."""
    changes: dict[str, object] = {"seed": seed, "output_dir": None}
    if arm.after is not None:
        # Absolute, so that a study may be gone on with from another working directory.
        changes["base_model"] = str(locate_run(folder, arm.after, seed).folder.resolve())
    return arm.recipe.model_copy(update=changes)


def unscored_tasks(run: Run, study: Study) -> list[str]:
    """Names of the tasks whose summary is not there yet."""
    evaluations = RunLayout(run.folder).evaluations
    return [task.name for task in study.tasks if not (evaluations / f"{task.name}.json").exists()]


def has_begun(run: Run) -> bool:
    """Whether anything of the run's results is there."""
    layout = RunLayout(run.folder)
    return layout.recipe.exists() or layout.evaluations.exists()


def read_status(run: Run, study: Study) -> Status:
    layout = RunLayout(run.folder)
    if layout.error.exists():
        return "failed"
    trained = run.seed is None or layout.done.exists()
    if trained and not unscored_tasks(run, study):
        return "done"
    return "unfinished" if has_begun(run) else "not started"


@contextlib.contextmanager
def hold_alone(folder: Path) -> Generator[None]:
    """Keep other processes from running the same study; ends with this process, however it ends.

    Raises:
        OutputError: another process runs the study in `folder`.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"{folder} is being run by another process. Wait for it to end, or choose another "
                "--output."
            ) from error
        except OSError:
            # Some network file systems know no locks; there the user must take care.
            pass
        yield
    finally:
        os.close(handle)
