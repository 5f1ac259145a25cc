"""Run a study to the end: `luthier study run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from luthier.files import RunLayout, make_directory, write_json, write_text
from luthier.recipe.load import dump_recipe
from luthier.recipe.study import Arm, LoadedStudy, Study, dump_study
from luthier.study import changes
from luthier.study.crew import Crew, Ended, pick_next
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
from luthier.study.settled import settle_precision, settle_slots


class StudyOptions(NamedTuple):
    skip_bad_rows: bool = False
    trust_remote_code: bool = False
    jobs: int | None = None  # runs at once; as many as cores and memory carry when absent


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
        trained = [run for run in list_runs(loaded.study, arms, folder) if run.seed is not None]
        slots = settle_slots(trained, folder, options.jobs, begun=begun)
        if slots.threads is not None and not begun:
            write_plan(loaded, folder, say, cores=slots.threads)
        if slots.jobs > 1:
            say(f"{slots.jobs} runs at once (--jobs 1: one after another)")
        with Crew(folder, slots, trust_remote_code=options.trust_remote_code) as crew:
            failed = run_all(loaded.study, arms, folder, crew, say)
    return StudyOutcome(folder, tuple(failed))


def run_all(study: Study, arms: Sequence[Arm], folder: Path, crew: Crew, say: Say) -> list[Run]:
    """Do what is not done yet, each run after those that it stands on; returns the failed ones."""
    pending, failed = list(list_runs(study, arms, folder)), list[Run]()
    stages = {run: list_stages(run, arms, folder) for run in pending}
    while pending or crew.working:
        run = pick_next(pending, crew.working, stages) if crew.has_room else None
        if run is None:
            ended = crew.wait()
        else:
            pending.remove(run)
            fits = check_stage(run, arms, folder)
            if fits and read_status(run, study) == "done":
                say(f"{run.title}: already done")
                continue
            if fits:
                say(f"{run.title}: {'scoring' if run.seed is None else 'training and scoring'}")
                crew.start(run)
                continue
            ended = [Ended(run, succeeded=False)]
        for lost in (item.run for item in ended if not item.succeeded):
            failed.append(lost)
            say(f"{lost.title}: failed, see {RunLayout(lost.folder).error}; going on")
    return failed


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
