"""What a study was planned to take, written down before its first run; the report checks it."""

from __future__ import annotations

from pathlib import Path

from luthier.errors import LuthierError
from luthier.files import read_json, write_json
from luthier.plan.as_json import study_as_json
from luthier.plan.inputs import PlanInputs
from luthier.plan.machine.devices import describe_this_machine
from luthier.plan.study_plan import plan_study
from luthier.recipe.study import LoadedStudy
from luthier.study.data import Say

PLAN_FILE = "plan.json"


def write_plan(loaded: LoadedStudy, folder: Path, say: Say, cores: int | None = None) -> None:
    """Plan the study on this machine, whatever machine its own `plan` section names.

    Args:
        cores: of the processor that one run may use; all when absent.
    """
    try:
        device = describe_this_machine()
        here = PlanInputs(gpu="cpu" if device.kind == "cpu" else device.name, gpus=1, cores=cores)
        planned = study_as_json(plan_study(loaded, here, folder=folder))
    except LuthierError as error:
        # A model or data that cannot be planned may still be trained, or fail with its own words.
        say(f"note: no plan was made: {error}")
        return
    write_json(folder / PLAN_FILE, planned)


def read_peak_gib(folder: Path) -> float | None:
    """The most memory that a run of the study was planned to take; None where it is not known."""
    path = folder / PLAN_FILE
    if not path.exists():
        return None
    try:
        return max(float(run["memory"]["allocated_gib"]) for run in read_json(path)["arms"])
    except (LuthierError, KeyError, TypeError, ValueError):
        return None
