"""Run a study to the end: `luthier study run`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from luthier.errors import OutputError
from luthier.files import RunLayout, make_directory, remove_directory, write_json, write_text
from luthier.recipe.load import dump_recipe
from luthier.recipe.load_study import load_study
from luthier.recipe.schema import Recipe
from luthier.recipe.study import BASE_ARM, Arm, LoadedStudy, Study, dump_study
from luthier.study.base import choose_base
from luthier.study.data import Say, StudyRows, prepare_study_data
from luthier.study.ledger import Run, hold_alone, list_runs, read_status
from luthier.study.worker import PLANNED_RECIPE
from luthier.train.output import check_output


class StudyOptions(NamedTuple):
    skip_bad_rows: bool = False
    trust_remote_code: bool = False


class StudyOutcome(NamedTuple):
    folder: Path
    failed: tuple[Run, ...]


def run_study(
    loaded: LoadedStudy,
    folder: Path,
    say: Say,
    options: StudyOptions = StudyOptions(),  # noqa: B008
) -> StudyOutcome:
    """Train and score every run that is not done yet; a failed one does not stop the others.

    Raises:
        LuthierError: data, model or output that make the whole study impossible.
    """
    check_same_study(loaded, folder)
    # Absolute, so that a study may be gone on with from another working directory.
    rows = StudyRows((folder / "data").resolve(), is_study(folder), options.skip_bad_rows, say)
    arms = prepare_study_data(loaded, rows)
    with hold_alone(make_directory(folder)):
        clear_changed_runs(loaded.study, arms, folder, say)
        write_text(folder / "study.yaml", dump_study(loaded.study))
        write_planned_recipes(loaded.study, arms, folder)
        failed: list[Run] = []
        for run in list_runs(loaded.study, arms, folder):
            if read_status(run, loaded.study) == "done":
                say(f"{run.title}: already done")
                continue
            say(f"{run.title}: {'scoring' if run.seed is None else 'training and scoring'}")
            if not start_worker(run, folder, options):
                failed.append(run)
                say(f"{run.title}: failed, see {RunLayout(run.folder).error}; going on")
    return StudyOutcome(folder, tuple(failed))


def start_worker(run: Run, folder: Path, options: StudyOptions) -> bool:
    """Do one run in a process of its own, which ends with this one; True when it succeeded."""
    make_directory(run.folder)
    layout = RunLayout(run.folder)
    layout.error.unlink(missing_ok=True)
    command = [sys.executable, "-m", "luthier.study.worker", str(folder), "--arm", run.arm]
    command += [] if run.seed is None else ["--seed", str(run.seed)]
    command += ["--trust-remote-code"] if options.trust_remote_code else []
    # In a group of its own Ctrl-C reaches this process alone; the worker ends with the pipe.
    with subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0) as process:
        code = process.wait()
    if code != 0 and not layout.error.exists():
        write_json(layout.error, describe_death(code))
    return code == 0


def describe_death(code: int) -> dict[str, str]:
    """The error of a worker that could not write its own."""
    message = f"the run's process ended with exit code {code}."
    if code == -9:
        message = (
            "the run's process was killed (signal 9), most often by the system when memory runs "
            "out. Lower micro_batch_size or sequence_len, or set gradient_checkpointing: true."
        )
    return {"error": "ProcessDied", "message": message, "traceback": ""}


def write_planned_recipes(study: Study, arms: Sequence[Arm], folder: Path) -> None:
    """Each run's recipe, with its seed and the study's rows, where its worker finds it."""
    for arm in arms:
        for seed in study.seeds:
            place = make_directory(folder / arm.name / f"seed-{seed}")
            write_text(place / PLANNED_RECIPE, dump_recipe(plan_recipe(arm, seed)))


def plan_recipe(arm: Arm, seed: int) -> Recipe:
    return arm.recipe.model_copy(update={"seed": seed, "output_dir": None})


def is_study(folder: Path) -> bool:
    """Whether a study has begun in `folder`."""
    return (folder / "study.yaml").exists()


def clear_changed_runs(study: Study, arms: Sequence[Arm], folder: Path, say: Say) -> None:
    """Begin a failed run anew where its recipe was mended since.

    Raises:
        OutputError: a run that did not fail was trained by another recipe; nothing is cleared.
    """
    arm_of = {arm.name: arm for arm in arms}
    changed: list[Run] = []
    for run in list_runs(study, arms, folder):
        if run.seed is None:
            continue
        try:
            check_output(plan_recipe(arm_of[run.arm], run.seed), RunLayout(run.folder), resume=True)
        except OutputError as error:
            if read_status(run, study) != "failed":
                raise OutputError(f"{error} A new arm may have any settings.") from error
            changed.append(run)
    for run in changed:
        say(f"{run.title}: it failed with other settings; starting it anew")
        remove_directory(run.folder)


def check_same_study(loaded: LoadedStudy, folder: Path) -> None:
    """Arms and seeds may be added to a study; what its rows and scores rest on may not change.

    Raises:
        OutputError: the folder holds a study with other data, split or tasks.
    """
    path = folder / "study.yaml"
    if not path.exists():
        return
    stored = load_study(path)
    before, now = stored.study, loaded.study
    changed = [key for key in ("data", "sample") if getattr(before, key) != getattr(now, key)]
    old_tasks = {task.name: task for task in before.tasks}
    changed += [
        f"tasks ({task.name})"
        for task in now.tasks
        if task.name in old_tasks and old_tasks[task.name] != task
    ]
    if (folder / BASE_ARM / "eval").exists() and choose_base(stored) != choose_base(loaded):
        changed.append("base_model")
    if changed:
        raise OutputError(
            f"{folder} holds a study with another {', '.join(changed)}. Choose another --output, "
            "or restore the study."
        )


def describe_status(loaded: LoadedStudy, folder: Path) -> Sequence[tuple[Run, str]]:
    """Each run and where it stands."""
    runs = list_runs(loaded.study, loaded.arms, folder)
    return [(run, read_status(run, loaded.study)) for run in runs]
