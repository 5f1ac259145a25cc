"""A study that is started again: what may have changed in it since, and what may not.

What needs torch is imported where it is used: the process that drives a study holds no memory
beside the runs, and a fresh study starts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from luthier.errors import OutputError
from luthier.files import RunLayout, remove_directory
from luthier.recipe.load_study import load_study
from luthier.recipe.study import BASE_ARM, Arm, LoadedStudy, Study
from luthier.study.data import Say
from luthier.study.ledger import Run, list_runs, plan_recipe, read_status


def clear_changed_runs(study: Study, arms: Sequence[Arm], folder: Path, say: Say) -> None:
    """Begin a failed run anew where its recipe was mended since.

    Raises:
        OutputError: a run that did not fail was trained by another recipe; nothing is cleared.
    """
    from luthier.train.output import check_output

    arm_of = {arm.name: arm for arm in arms}
    changed: list[Run] = []
    for run in list_runs(study, arms, folder):
        if run.seed is None:
            continue
        try:
            recipe = plan_recipe(arm_of[run.arm], run.seed, folder)
            check_output(recipe, RunLayout(run.folder), resume=True)
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
