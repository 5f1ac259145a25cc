"""How long a run takes: training, evaluation, and what stands around them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from luthier.plan.communication import estimate_communication
from luthier.plan.evaluation_time import EvaluationLoad, evaluation_seconds, validation_seconds
from luthier.plan.figure import Basis, Figure, weakest
from luthier.plan.hardware import Machine
from luthier.plan.other_time import count_epochs, other_seconds
from luthier.plan.step_work import count_step_work
from luthier.plan.throughput import published_throughput
from luthier.plan.utilisation import choose_precision, find_speeds
from luthier.plan.workload import Workload

SECONDS_PER_HOUR = 3600
# What shards a step's optimizer over the devices.
_SHARDED_OPTIMIZER = frozenset({"zero2", "zero3", "zero3-offload", "fsdp"})


class Time(NamedTuple):
    """How long a run takes.

    Attributes:
        train_hours: of the optimizer steps.
        evaluation_hours: of validation during training and of the tasks after it.
        other_hours: of starting, loading, preparing and saving.
        tokens_per_second: in training, of all devices together.
        tokens: that are trained on.
        step_seconds: of one optimizer step.
        parts: what a step's seconds are spent on, as the model has it; empty where the
            throughput was given or measured.
    """

    train_hours: Figure
    evaluation_hours: Figure
    other_hours: Figure
    tokens_per_second: Figure
    tokens: Figure
    step_seconds: Figure
    parts: Mapping[str, float] = {}

    @property
    def total_hours(self) -> Figure:
        """All hours."""
        parts = (self.train_hours, self.evaluation_hours, self.other_hours)
        return Figure(sum(part.value for part in parts), weakest(*parts), "all hours")


class StepTime(NamedTuple):
    """One optimizer step as the model has it.

    Attributes:
        seconds: of the step, on every device alike.
        parts: name → seconds; kernels are started while others compute, except on a processor.
    """

    seconds: Figure
    parts: Mapping[str, float]


def estimate_time(
    workload: Workload,
    machine: Machine,
    evaluation: EvaluationLoad | None = None,
    tokens_per_second: Figure | None = None,
) -> Time:
    """How long `workload` takes on `machine`.

    Args:
        evaluation: the tasks that are scored afterwards, if any.
        tokens_per_second: of all devices together, where it is given or was measured here; else a
            published measurement of just this case is taken, else the step is modelled.
    """
    rate = tokens_per_second or published_throughput(workload, machine)
    parts: Mapping[str, float] = {}
    if rate is None:
        step = estimate_step(workload, machine)
        per_second = _step_tokens(workload, machine) / step.seconds.value
        basis = weakest(step.seconds, workload.mean_tokens)
        rate = Figure(per_second, basis, step.seconds.source)
        parts = step.parts
    train = workload.tokens.value / rate.value
    during = _validations(workload) * validation_seconds(workload, machine.device).value
    after = (
        evaluation_seconds(workload, machine.device, evaluation)
        if evaluation
        else Figure(0.0, "computed", "no task")
    )
    around = other_seconds(workload, machine)
    return Time(
        train_hours=_hours(train, weakest(workload.tokens, rate), "tokens ÷ tokens per second"),
        evaluation_hours=_hours(
            during + after.value,
            "assumed" if during else after.basis,
            "validation and tasks",
        ),
        other_hours=_hours(around.value, around.basis, around.source),
        tokens_per_second=rate,
        tokens=workload.tokens,
        step_seconds=Figure(
            train / max(1.0, workload.optimizer_steps.value), rate.basis, "training ÷ steps"
        ),
        parts=parts,
    )


def estimate_step(workload: Workload, machine: Machine) -> StepTime:
    """One optimizer step: products, attention, bytes, kernels started, communication."""
    recipe, device = workload.recipe, machine.device
    precision = choose_precision(recipe, device)
    speeds = find_speeds(device, workload.facts.width, recipe)
    shards = machine.count if machine.sharding in _SHARDED_OPTIMIZER else 1
    work = count_step_work(workload, precision, shards)
    parts = {
        "products": work.product_flops / speeds.product_flops,
        "attention": work.attention_flops / speeds.attention_flops,
        "layers": work.layer_bytes / speeds.bytes,
        "weights": work.weight_bytes / speeds.bytes,
        "optimizer": work.optimizer_bytes / speeds.bytes,
        "projection": work.float32_flops / speeds.float32_flops + work.svd_flops / speeds.svd_flops,
    }
    if machine.sharding == "zero3-offload":
        # The processor moves the weights; communication counts it.
        parts["optimizer"] = 0.0
    computing = sum(parts.values())
    starting = work.kernels * speeds.kernel_seconds
    # A device computes while the processor starts the next kernel; a processor does one of both.
    waiting = starting if speeds.waits_for_kernels else max(0.0, starting - computing)
    parts["kernels"] = waiting
    between = estimate_communication(workload, machine, precision)
    parts["communication"] = between.seconds.value + between.slowdown * computing
    basis = weakest(speeds.basis, device.bf16_tflops, device.bandwidth_gb_s)
    source = "operations, bytes and kernels of a step"
    return StepTime(Figure(sum(parts.values()), basis, source), parts)


def _step_tokens(workload: Workload, machine: Machine) -> float:
    """Tokens of one optimizer step on all devices that work at once."""
    # Without sharding only one device at a time has the layer that is worked on.
    at_once = 1 if machine.sharding == "none" else machine.count
    per_device = workload.mean_tokens.value * workload.recipe.gradient_accumulation_steps
    return per_device * at_once


def _validations(workload: Workload) -> int:
    """How often the validation data are passed over during training."""
    if not workload.validation_tokens.value:
        return 0
    recipe, steps = workload.recipe, workload.optimizer_steps.value
    if recipe.eval_steps is not None:
        return math.ceil(steps / recipe.eval_steps)
    return max(1, math.ceil(count_epochs(workload) * (recipe.evals_per_epoch or 1)))


def _hours(seconds: float, basis: Basis, source: str) -> Figure:
    return Figure(seconds / SECONDS_PER_HOUR, basis, source)
