"""What could be done instead: changes that make a run fit, and what a budget can buy."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from luthier.plan.advice import Change, Reading, find_changes
from luthier.plan.cost import estimate_cost
from luthier.plan.data_names import name_rows
from luthier.plan.device_table import DEVICES
from luthier.plan.figure import Figure
from luthier.plan.fit_steps import Around, Setting
from luthier.plan.hardware import Device, Machine
from luthier.plan.inputs import PlanInputs
from luthier.plan.known_models import KNOWN_MODELS, find_known
from luthier.plan.memory.estimate import estimate_memory
from luthier.plan.model_facts import ModelFacts
from luthier.plan.options import COUNTS, Option, RowEstimate, list_options
from luthier.plan.own_results import read_own_results
from luthier.plan.render_options import name_machine
from luthier.plan.run_plan import RunPlan
from luthier.plan.time import estimate_time
from luthier.plan.two_stage import PilotArm, TwoStage, propose_two_stage
from luthier.plan.workload_build import build_workload
from luthier.recipe.schema import Recipe

# Where the user's own finished studies lie, as `luthier study run` leaves them.
RUNS = Path("runs")


class Limits(NamedTuple):
    """What a choice has to keep to; None where nothing is said."""

    budget_usd: float | None = None
    deadline_hours: float | None = None


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


def make_it_fit(run: RunPlan) -> tuple[Change, ...]:
    """The smallest changes after which a run fits; nothing where it fits already."""
    if run.memory.fits == "yes":
        return ()

    def measure(setting: Setting) -> Reading:
        engine = run.workload.engine
        workload = build_workload(
            setting.recipe, setting.facts, run.counts, engine, setting.machine.count
        )
        memory = estimate_memory(workload, setting.machine)
        return Reading(memory.allocated_gib, memory.fits)

    longest = run.counts.longest_tokens.value if run.counted else None
    around = Around(longest, tuple(DEVICES.values()), list_smaller_models(run.workload.facts))
    setting = Setting(run.workload.recipe, run.workload.facts, run.machine)
    return find_changes(setting, around, measure)


def list_smaller_models(facts: ModelFacts) -> tuple[ModelFacts, ...]:
    """Known models of the same series (`Qwen/Qwen2.5`) with fewer weights, the largest first."""
    series = facts.name.lower().partition("-")[0]
    names = [name for name in KNOWN_MODELS if name.lower().partition("-")[0] == series]
    found = [known for name in names if (known := find_known(name)) is not None]
    smaller = [known for known in found if known.parameters < facts.parameters]
    return tuple(sorted(smaller, key=lambda known: -known.parameters))


def choose(run: RunPlan, inputs: PlanInputs, limits: Limits) -> Choice:
    """All that can be done with the run's data within the limits, and in which two stages.

    The device and the number of them are those that the inputs name, or all that can be rented.
    """

    def estimate(recipe: Recipe, machine: Machine) -> RowEstimate:
        facts, engine = run.workload.facts, run.workload.engine
        workload = build_workload(recipe, facts, run.counts, engine, machine.count)
        memory = estimate_memory(workload, machine)
        time = estimate_time(workload, machine, run.evaluation)
        fixed = time.total_hours.value - time.train_hours.value
        return RowEstimate(
            memory.allocated_gib,
            memory.capacity_gib,
            memory.fits,
            time.train_hours,
            Figure(fixed, time.evaluation_hours.basis, "loading, evaluation and saving"),
            estimate_cost(time, machine).usd,
        )

    recipe = run.workload.recipe
    options = list_options(
        recipe,
        _list_devices(run, inputs),
        estimate,
        data=name_rows(recipe.datasets[0]) if recipe.datasets else "",
        own=read_own_results(RUNS),
        budget_usd=limits.budget_usd,
        deadline_hours=limits.deadline_hours,
        counts=COUNTS if inputs.gpus is None else (inputs.gpus,),
        recipe_devices=run.machine.count,
    )
    return Choice(limits, options, _propose(options, run, limits))


def _list_devices(run: RunPlan, inputs: PlanInputs) -> tuple[Device, ...]:
    if inputs.gpu is None:
        return tuple(device for device in DEVICES.values() if device.usd_per_hour is not None)
    device = run.machine.device
    if inputs.usd_per_hour is None:
        return (device,)
    return (device._replace(usd_per_hour=Figure(inputs.usd_per_hour, "given", "--usd-per-hour")),)


def _propose(options: tuple[Option, ...], run: RunPlan, limits: Limits) -> TwoStage | None:
    if limits.budget_usd is None:
        return None
    cheapest: dict[str, Option] = {}
    for option in options:
        usd = option.estimate.usd
        if not option.feasible or usd is None:
            continue
        best = cheapest.get(option.title)
        if best is None or best.estimate.usd is None or usd.value < best.estimate.usd.value:
            cheapest[option.title] = option
    arms = [
        PilotArm(
            title,
            name_machine(option.machine),
            option.estimate.train_hours.value,
            option.estimate.fixed_hours.value,
            option.machine.usd_per_hour.value if option.machine.usd_per_hour else 0.0,
            option.quality.value.value if option.quality else None,
        )
        for title, option in cheapest.items()
    ]
    tasks = [task.examples for task in run.evaluation.tasks]
    examples = round(min(task.value for task in tasks)) if tasks else None
    return propose_two_stage(arms, limits.budget_usd, limits.deadline_hours, examples)
