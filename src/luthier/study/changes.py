"""A study that is started again: what may have changed in it since, and what may not.

What needs torch is imported where it is used: the process that drives a study holds no memory
beside the runs, and a fresh study starts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from luthier.errors import OutputError
from luthier.files import RunLayout, read_json, remove_directory
from luthier.recipe.load_study import load_study
from luthier.recipe.study import BASE_ARM, Arm, LoadedStudy, Study
from luthier.study.data import Say
from luthier.study.ledger import (
    Run,
    has_begun,
    list_runs,
    list_stages,
    plan_recipe,
    read_status,
)


def clear_changed_runs(study: Study, arms: Sequence[Arm], folder: Path, say: Say) -> None:
    """Begin a failed run anew where its recipe was mended since, and all that came after it.

    Raises:
        OutputError: a run that did not fail was trained by another recipe, or on from other
            weights than its arm's `after` has now; nothing is cleared.
    """
    # An arm stands below the one it comes after: what it stands on has been looked at by then.
    cleared: dict[Run, str] = {}
    for run in list_runs(study, arms, folder):
        if run.seed is None:
            continue
        anew = [stage for stage in list_stages(run, arms, folder) if stage in cleared]
        if anew:
            if has_begun(run):
                cleared[run] = f"it stands on {anew[0].title}; starting it anew too"
            continue
        try:
            check_recipe(run, arms, folder)
        except OutputError:
            if read_status(run, study) != "failed":
                raise
            cleared[run] = "it failed with other settings; starting it anew"
            continue
        changed = describe_changed_base(run, arms, folder)
        if changed is not None:
            raise OutputError(changed)
    for run, why in cleared.items():
        say(f"{run.title}: {why}")
    # What stands on another first: killed half-way, the rest is found again.
    for run in reversed(cleared):
        remove_directory(run.folder)


def check_recipe(run: Run, arms: Sequence[Arm], folder: Path) -> None:
    """Raise OutputError when a run began by another recipe than its arm has now."""
    from luthier.train.output import check_output

    assert run.seed is not None
    arm = next(arm for arm in arms if arm.name == run.arm)
    try:
        check_output(plan_recipe(arm, run.seed, folder), RunLayout(run.folder), resume=True)
    except OutputError as error:
        raise OutputError(f"{error} A new arm may have any settings.") from error


def describe_changed_base(run: Run, arms: Sequence[Arm], folder: Path) -> str | None:
    """Why what a run trained no longer goes with what its arm comes after; None where it does.

    None too where it, or one of the runs that it stands on, has not been trained yet.
    """
    origin = RunLayout(run.folder).provenance
    stages = list_stages(run, arms, folder)
    if not stages or not origin.exists():
        return None
    if not all(RunLayout(stage.folder).done.exists() for stage in stages):
        return None
    from luthier.models.places import digest_base

    stage = stages[0]
    if read_json(origin)["model"]["sha256"] == digest_base(str(stage.folder)):
        return None
    return (
        f"{run.title} trained on from {stage.title}, which has been trained anew since and came "
        f"out otherwise. Delete {run.folder} to train it anew too."
    )


def check_same_study(loaded: LoadedStudy, folder: Path) -> None:
    """Arms and seeds may be added to a study; what its rows and scores rest on may not change.

    Raises:
        OutputError: the folder holds a study with other data, split or tasks.
    """
    from luthier.study.base import choose_base

    stored = load_study(folder / "study.yaml")
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
