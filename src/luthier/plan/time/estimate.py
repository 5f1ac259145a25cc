"""How long a run takes: training, evaluation, and what stands around them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from luthier.plan.figure import Basis, Figure, weakest
from luthier.plan.machine.hardware import Machine
from luthier.plan.time.calibration import find_calibration
from luthier.plan.time.evaluation_time import EvaluationLoad, evaluation_seconds, validation_seconds
from luthier.plan.time.other_time import count_epochs, other_seconds
from luthier.plan.time.step_time import count_step_tokens, estimate_step
from luthier.plan.time.throughput import published_throughput
from luthier.plan.work.workload import Workload

SECONDS_PER_HOUR = 3600


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


def estimate_time(
    workload: Workload,
    machine: Machine,
    evaluation: EvaluationLoad | None = None,
    tokens_per_second: Figure | None = None,
) -> Time:
    """How long `workload` takes on `machine`.

    Args:
        evaluation: the tasks that are scored afterwards, if any.
        tokens_per_second: of all devices together, where it is given. Else a calibration of this
            machine is taken, else a published measurement of just this case, else the step is
            modelled.
    """
    rate = tokens_per_second
    if rate is None:
        calibrated = find_calibration(workload, machine)
        rate = calibrated.tokens_per_second if calibrated else None
    rate = rate or published_throughput(workload, machine)
    parts: Mapping[str, float] = {}
    if rate is None:
        step = estimate_step(workload, machine)
        per_second = count_step_tokens(workload, machine) / step.seconds.value
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
