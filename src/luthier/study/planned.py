"""What a study was planned to take, written down before its first run; the report checks it."""

from __future__ import annotations

from pathlib import Path

from luthier.errors import LuthierError
from luthier.files import write_json
from luthier.plan.as_json import study_as_json
from luthier.plan.inputs import PlanInputs
from luthier.plan.machine.devices import describe_this_machine
from luthier.plan.study_plan import plan_study
from luthier.recipe.study import LoadedStudy
from luthier.study.data import Say

PLAN_FILE = "plan.json"


def write_plan(loaded: LoadedStudy, folder: Path, say: Say) -> None:
    """Plan the study on this machine, whatever machine its own `plan` section names."""
    try:
        device = describe_this_machine()
        here = PlanInputs(gpu="cpu" if device.kind == "cpu" else device.name, gpus=1)
        planned = study_as_json(plan_study(loaded, here, folder=folder))
    except LuthierError as error:
        # A model or data that cannot be planned may still be trained, or fail with its own words.
        say(f"note: no plan was made: {error}")
        return
    write_json(folder / PLAN_FILE, planned)
