"""Run a study to the end: `luthier study run`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from luthier.files import RunLayout, make_directory, write_json, write_text
from luthier.recipe.load import dump_recipe
from luthier.recipe.study import Arm, LoadedStudy, Study, dump_study
from luthier.study import changes
from luthier.study.data import Say, StudyRows, prepare_study_data
from luthier.study.ledger import (
    PLANNED_RECIPE,
    Run,
    hold_alone,
    list_runs,
    list_stages,
    locate_run,
    plan_recipe,
    read_status,
)
from luthier.study.planned import write_plan
from luthier.study.precision import settle_precision


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
    begun = (folder / "study.yaml").exists()
    # Absolute, so that a study may be gone on with from another working directory.
    rows = StudyRows((folder / "data").resolve(), begun, options.skip_bad_rows, say)
    if begun:
        changes.check_same_study(loaded, folder)
    arms = prepare_study_data(loaded, rows)
    with hold_alone(make_directory(folder)):
        settle_precision(loaded, folder, say)
        if begun:
            changes.clear_changed_runs(loaded.study, arms, folder, say)
        else:
            write_plan(loaded, folder, say)
        write_text(folder / "study.yaml", dump_study(loaded.study))
        write_planned_recipes(loaded.study, arms, folder)
        failed: list[Run] = []
        for run in list_runs(loaded.study, arms, folder):
            stage_fits = check_stage(run, arms, folder)
            if stage_fits and read_status(run, loaded.study) == "done":
                say(f"{run.title}: already done")
                continue
            say(f"{run.title}: {'scoring' if run.seed is None else 'training and scoring'}")
            if not (stage_fits and start_worker(run, folder, options)):
                failed.append(run)
                say(f"{run.title}: failed, see {RunLayout(run.folder).error}; going on")
    return StudyOutcome(folder, tuple(failed))


def check_stage(run: Run, arms: Sequence[Arm], folder: Path) -> bool:
    """Whether what `run` trains on from has been trained, and is still what it trained on from.

    If not, its error says so: the stage may have come out otherwise a moment ago.
    """
    stages = list_stages(run, arms, folder)
    message = changes.describe_changed_base(run, arms, folder)
    if stages and not RunLayout(stages[0].folder).done.exists():
        failed = stages[0].title
        message = f"{run.title} trains on from {failed}, which failed. Mend that run first."
    if message is None:
        return True
    write_json(
        RunLayout(make_directory(run.folder)).error,
        {"error": "OutputError", "message": message, "traceback": ""},
    )
    return False


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
            place = make_directory(locate_run(folder, arm.name, seed).folder)
            write_text(place / PLANNED_RECIPE, dump_recipe(plan_recipe(arm, seed, folder)))


def describe_status(loaded: LoadedStudy, folder: Path) -> Sequence[tuple[Run, str]]:
    """Each run and where it stands."""
    runs = list_runs(loaded.study, loaded.arms, folder)
    return [(run, read_status(run, loaded.study)) for run in runs]
