"""One arm's plan: its model, machine, memory, time and cost, put together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from luthier.errors import PlanError
from luthier.plan.amounts.tokens import TokenCount, count_tokens
from luthier.plan.cost import Cost, estimate_cost
from luthier.plan.figure import Figure
from luthier.plan.inputs import PlanInputs
from luthier.plan.machine.devices import (
    build_machine,
    count_devices,
    describe_this_machine,
    find_device,
)
from luthier.plan.machine.hardware import Machine
from luthier.plan.machine.sharding import choose_sharding
from luthier.plan.memory.device_figure import TIGHT_BELOW
from luthier.plan.memory.estimate import Memory, estimate_memory
from luthier.plan.model.model_config import read_facts
from luthier.plan.time.calibration import find_calibration
from luthier.plan.time.estimate import Time, estimate_time
from luthier.plan.time.evaluation_load import build_evaluation_load
from luthier.plan.time.evaluation_time import EvaluationLoad
from luthier.plan.work.workload import Workload
from luthier.plan.work.workload_build import build_workload
from luthier.recipe.schema import Recipe
from luthier.recipe.study import TaskSpec

# A machine of one's own costs nothing by the hour, so a missing price is no gap in its plan.
RENTED = ("nvidia", "amd")

NOT_SHARED = (
    "Luthier's own loop does not share a model among devices or with the computer's memory yet; "
    "the plan holds for a loop like it that does."
)


class RunPlan(NamedTuple):
    """What one run takes.

    Attributes:
        name: the arm's, or the recipe's file.
        workload: what it asks of a machine.
        machine: where it runs.
        memory: of one device.
        measured_gib: peak memory of a calibration of just this run; None without one.
        time: hours mean nothing where the amount of data is not known.
        counts: the examples and tokens of an epoch.
        counted: whether they are known, and not just rows full to `sequence_len`.
        evaluation: the tasks that are scored after training.
        cost: None where it is not.
        warnings: what is missing, doubtful or in the way, the most important first.
    """

    name: str
    workload: Workload
    machine: Machine
    memory: Memory
    measured_gib: Figure | None
    time: Time
    counts: TokenCount
    counted: bool
    evaluation: EvaluationLoad
    cost: Cost | None
    warnings: tuple[str, ...]


class Surroundings(NamedTuple):
    """What a plan reads besides the recipe.

    Attributes:
        config: a model's configuration file that the user names.
        prepared: the study's tokenised data.
        tasks: that are scored after training.
        test_examples: task's name → examples; None where unknown.
    """

    config: Path | None = None
    prepared: Path | None = None
    tasks: tuple[TaskSpec, ...] = ()
    test_examples: Mapping[str, Figure | None] = {}


def choose_machine(recipe: Recipe, inputs: PlanInputs) -> Machine:
    """The machine that the inputs name, or this one.

    Raises:
        PlanError: an unknown device, or DeepSpeed settings that cannot be read.
    """
    device = (
        describe_this_machine() if inputs.gpu is None else find_device(inputs.gpu, inputs.cores)
    )
    here = count_devices() if inputs.gpu is None else 1
    count = here if inputs.gpus is None else inputs.gpus
    sharding = choose_sharding(recipe, inputs.sharding, count)
    return build_machine(device, count, sharding, inputs.usd_per_hour)


def plan_run(
    name: str,
    recipe: Recipe,
    inputs: PlanInputs,
    around: Surroundings = Surroundings(),  # noqa: B008
) -> RunPlan:
    """Plan one run of a recipe.

    Memory needs nothing but the recipe, the model and the machine; time needs to know how much
    data there is, and where that is not known the plan says so and goes without.

    Raises:
        PlanError: an unknown model, device or way of sharing.
        DataError: rows that cannot be read.
    """
    machine = choose_machine(recipe, inputs)
    facts = read_facts(recipe.base_model, around.config)
    warnings: list[str] = []
    counts, counted = _count(recipe, inputs, around, warnings)
    engine = inputs.engine or "luthier"
    workload = build_workload(recipe, facts, counts, engine, machine.count)
    memory = estimate_memory(workload, machine)
    calibrated = find_calibration(workload, machine)
    evaluation = build_evaluation_load(around.tasks, around.test_examples, counts)
    time = estimate_time(workload, machine, evaluation, _stated_rate(workload, inputs))
    cost = estimate_cost(time, machine) if counted else None
    if engine == "luthier" and machine.sharding not in ("none", "ddp"):
        warnings.append(NOT_SHARED)
    if memory.host_gib is not None:
        warnings.append(
            f"Offload: the computer itself needs {memory.host_gib.value:,.0f} GiB for weights, "
            "gradients and the optimizer."
        )
    if cost is not None and machine.device.kind in RENTED:
        warnings += cost.warnings
    return RunPlan(
        name,
        workload,
        machine,
        memory,
        calibrated.peak_gib if calibrated else None,
        time,
        counts,
        counted,
        evaluation,
        cost,
        tuple(warnings),
    )


def describe_fit(plan: RunPlan) -> str:
    """Whether a run fits its devices, with the numbers that decide it."""
    memory, machine = plan.memory, plan.machine
    has, needs = memory.capacity_gib.value, memory.allocated_gib.value
    where = machine.device.name if machine.count == 1 else f"each {machine.device.name}"
    at_peak = f"{needs:.1f} of {has:.1f} GiB on {where} at its peak"
    if memory.fits == "yes":
        return f"Fits: {at_peak}."
    if memory.fits == "tight":
        return f"Tight: {at_peak}; fragmentation may end the run."
    weights = plan.workload.facts.parameters
    held = memory.parts["weights"].value
    if needs <= has:
        return (
            f"Does not fit: {at_peak}. Of a card {TIGHT_BELOW:.0%} can be counted on; the rest is "
            "lost between blocks of many sizes."
        )
    if held <= has:
        return f"Does not fit: {at_peak}."
    return (
        f"Does not fit: {at_peak}. {weights / 1e9:.1f} billion weights are {2 * weights / 1e9:.0f} "
        f"GB in bfloat16 alone, and {held:.1f} GiB as this run holds them there."
    )


def _count(
    recipe: Recipe, inputs: PlanInputs, around: Surroundings, warnings: list[str]
) -> tuple[TokenCount, bool]:
    """The tokens, and whether they are known; rows full to `sequence_len` where they are not."""
    _check_average(recipe, inputs)
    try:
        counts = count_tokens(
            recipe, inputs.samples, inputs.average_tokens, prepared=around.prepared
        )
    except PlanError as error:
        warnings.append(str(error))
    else:
        return counts, True
    samples = inputs.samples or recipe.micro_batch_size
    average = inputs.average_tokens or recipe.sequence_len
    return count_tokens(recipe, samples, average), False


def _check_average(recipe: Recipe, inputs: PlanInputs) -> None:
    """Refuse an average that no example of the recipe can have.

    Raises:
        PlanError: more than `sequence_len`, which both answers of a pair may fill.
    """
    average, answers = inputs.average_tokens, 1 if recipe.rl is None else 2
    if average is not None and average > answers * recipe.sequence_len:
        each = "an answer of a pair" if answers == 2 else "an example"
        raise PlanError(
            f"--average-tokens {average:g}: {each} has no more than {recipe.sequence_len:,} tokens "
            "(sequence_len). Give less, or raise sequence_len."
        )


def _stated_rate(workload: Workload, inputs: PlanInputs) -> Figure | None:
    if inputs.tokens_per_second is not None:
        return Figure(inputs.tokens_per_second, "given", "tokens_per_second")
    if inputs.hours is not None:
        rate = workload.tokens.value / (3600 * inputs.hours)
        return Figure(rate, "given", f"from the stated {inputs.hours:g} hours")
    return None
