"""What a budget or a deadline allows: every method on every machine, and two stages within it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from luthier.errors import PlanError
from luthier.plan.amounts.data_names import name_rows
from luthier.plan.choice.options import COUNTS, Option, list_options
from luthier.plan.choice.row_estimate import build_estimator
from luthier.plan.choice.two_stage import TwoStage, choose_pilot_arms, propose_two_stage
from luthier.plan.figure import Figure
from luthier.plan.inputs import PlanInputs, find_hardest_rate
from luthier.plan.machine.devices import DEVICES
from luthier.plan.machine.hardware import Device
from luthier.plan.outcome.own_results import read_own_results
from luthier.plan.run_plan import RunPlan

# Where the user's own finished studies lie, as `luthier study run` leaves them.
RUNS = Path("runs")


class Limits(NamedTuple):
    """What a choice has to keep to; None where nothing is said."""

    budget_usd: float | None = None
    deadline_hours: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether there is anything to keep to."""
        return self.budget_usd is not None or self.deadline_hours is not None


def check_limits(limits: Limits) -> None:
    """Refuse a limit that nothing can keep to.

    Raises:
        PlanError: names the flag.
    """
    flags = (("--budget", limits.budget_usd), ("--deadline", limits.deadline_hours))
    for flag, value in flags:
        if value is not None and not 0 < value < math.inf:
            raise PlanError(f"{flag} {value:g}: give a number above 0.")


class Choice(NamedTuple):
    """What the limits allow.

    Attributes:
        limits: that were given.
        options: method × device × count.
        two_stage: a pilot of many and a full run of the best; None where there is no budget, or
            it is too small for one.
    """

    limits: Limits
    options: tuple[Option, ...]
    two_stage: TwoStage | None


def choose(run: RunPlan, inputs: PlanInputs, limits: Limits) -> Choice:
    """All that can be done with the run's data within the limits, and in which two stages.

    The device and the number of them are those that the inputs name, or all that can be rented.
    """
    recipe, workload = run.workload.recipe, run.workload
    options = list_options(
        recipe,
        _list_devices(run, inputs),
        build_estimator(workload.facts, run.counts, workload.engine, run.evaluation),
        data=name_rows(recipe.datasets[0]) if recipe.datasets else "",
        own=read_own_results(RUNS),
        budget_usd=limits.budget_usd,
        deadline_hours=limits.deadline_hours,
        counts=COUNTS if inputs.gpus is None else (inputs.gpus,),
        recipe_devices=run.machine.count,
    )
    return Choice(limits, options, _propose(options, run, inputs, limits))


def _list_devices(run: RunPlan, inputs: PlanInputs) -> tuple[Device, ...]:
    if inputs.gpu is None:
        return tuple(device for device in DEVICES.values() if device.usd_per_hour is not None)
    device = run.machine.device
    if inputs.usd_per_hour is None:
        return (device,)
    return (device._replace(usd_per_hour=Figure(inputs.usd_per_hour, "given", "--usd-per-hour")),)


def _propose(
    options: tuple[Option, ...], run: RunPlan, inputs: PlanInputs, limits: Limits
) -> TwoStage | None:
    if limits.budget_usd is None:
        return None
    counted = [round(task.examples.value) for task in run.evaluation.tasks]
    examples = min(counted) if counted else inputs.test_examples
    return propose_two_stage(
        choose_pilot_arms(options),
        limits.budget_usd,
        limits.deadline_hours,
        examples,
        find_hardest_rate(inputs.expected or {}),
    )
