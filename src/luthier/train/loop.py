"""The one training loop.

It knows no technique. What is trained, how it moves and what it minimises come as parts; what a
technique needs at a certain moment it has hung on `adapter.refresh` or on the model itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from luthier import device
from luthier.adapters.attached import AttachedAdapter
from luthier.data.batches import BatchPlan
from luthier.errors import TrainingError
from luthier.objectives.objective import LOSS, add_share, count_totals
from luthier.optim.schedules import Schedule
from luthier.seeding import seed_step
from luthier.train.cadence import Cadence
from luthier.train.checkpoint import Checkpoints, name_base
from luthier.train.progress import Recorder
from luthier.train.restarts import Restarts
from luthier.train.state import LoopState, StepReport
from luthier.train.validation import ValidationData, validate

MEND = (
    "Lower learning_rate, add warmup_steps, or set max_grad_norm. The last good checkpoint is kept."
)


class LoopParts(NamedTuple):
    accelerator: Any
    module: Any  # batch, totals of the step → LossShare
    optimizer: Any
    adapter: AttachedAdapter
    schedule: Schedule
    plan: BatchPlan
    examples: Sequence[Any]
    pack: Callable[[Sequence[Any]], Any]  # examples → one micro-batch
    validation: ValidationData | None
    restarts: Restarts | None = None


class LoopSettings(NamedTuple):
    seed: int
    max_grad_norm: float
    logging: Cadence
    evaluation: Cadence
    saving: Cadence
    patience: int | None


def run_loop(
    parts: LoopParts,
    settings: LoopSettings,
    state: LoopState,
    recorder: Recorder,
    checkpoints: Checkpoints,
) -> LoopState:
    """Train from `state` to the end of the schedule, or until early stopping.

    With `patience` set, the weights at the end are those of the best validation.

    Raises:
        TrainingError: the loss or the gradient is no longer a number; the last checkpoint stays.
    """
    total_steps = parts.schedule.total_steps
    clock = recorder.start_clock(state)
    while state.step < total_steps and not _patience_spent(state, settings):
        report = take_step(parts, settings, state.step)
        state = _count(state, report, clock.seconds())
        if parts.restarts is not None and parts.restarts.due(state.step):
            parts.restarts.perform(state.step, parts.adapter, parts.optimizer)
            state = replace(state, base=name_base(state.step))
            checkpoints.save_base(name_base(state.step), parts.adapter)
        if settings.logging.due(state.step, total_steps):
            recorder.log_step(state, report)
            state = replace(state, window_loss=0.0, window_figures={}, window_steps=0)
        if parts.validation is not None and settings.evaluation.due(state.step, total_steps):
            result = validate(parts.accelerator, parts.module, parts.validation)
            if not math.isfinite(result.loss):
                raise TrainingError(
                    f"step {state.step}: the validation loss is {result.loss}. {MEND}"
                )
            improved = result.loss < state.best_val_loss
            state = _remember(state, result.loss, improved)
            recorder.log_validation(state, result)
            if improved and settings.patience is not None:
                checkpoints.save_best(parts.adapter)
        if settings.saving.due(state.step, total_steps):
            checkpoints.save(state, parts.adapter, parts.optimizer)
    if settings.patience is not None and state.evaluations_since_best > 0:
        # Whoever asks to stop early wants the best weights, also where patience outlasts the run.
        checkpoints.load_best(parts.adapter)
        state = replace(state, last_val_loss=state.best_val_loss)
    return state


def take_step(parts: LoopParts, settings: LoopSettings, step: int) -> StepReport:
    """One optimizer step: forward and backward on its micro-batches, clip, move."""
    accelerator = parts.accelerator
    seed_step(settings.seed, step, accelerator.process_index)
    micro_batches = parts.plan.micro_batches_of_step(step)
    examples = [parts.examples[i] for batch in micro_batches for i in batch]
    totals = count_totals(examples)
    learning_rate = _set_learning_rate(parts.optimizer, parts.schedule.factor(step))
    sums: dict[str, Tensor] = {}
    for indices, counts in _own_share(micro_batches, accelerator):
        batch = parts.pack([parts.examples[i] for i in indices]).to(accelerator.device)
        share = parts.module(batch, totals)
        # Gradients are averaged over processes, the loss is to be summed over them.
        with device.fixed_order():
            accelerator.backward(share.loss * (accelerator.num_processes * counts))
        add_share(sums, share, counts)
    figures = {name: float(accelerator.reduce(value, "sum")) for name, value in sums.items()}
    loss = figures.pop(LOSS)
    gradient_norm = _clip(parts, settings.max_grad_norm)
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        raise TrainingError(
            f"step {step + 1}: the loss is {loss} and the gradient norm {gradient_norm}, no "
            f"longer numbers. {MEND}"
        )
    parts.optimizer.step()
    parts.optimizer.zero_grad(set_to_none=True)
    parts.adapter.refresh()
    tokens = sum(example.tokens for example in examples)
    supervised = totals.supervised_tokens
    return StepReport(loss, learning_rate, gradient_norm, tokens, supervised, figures)


def _own_share(
    micro_batches: list[list[int]], accelerator: Any
) -> Iterator[tuple[list[int], bool]]:
    """This process's micro-batches, and whether each counts.

    Every process makes as many backward passes, since they wait for each other in each; one that
    has nothing left repeats a micro-batch with weight zero.
    """
    count = len(micro_batches)
    for first in range(0, count, accelerator.num_processes):
        place = first + accelerator.process_index
        yield micro_batches[min(place, count - 1)], place < count


def rehearse(parts: LoopParts) -> tuple[str, ...]:
    """Run the longest micro-batch once, so that memory runs out now and not after an hour.

    Returns:
        What to say where the model has an operation that a GPU computes in no fixed order.
    """
    examples = [parts.examples[i] for i in parts.plan.longest_micro_batch()]
    batch = parts.pack(examples).to(parts.accelerator.device)

    def run() -> None:
        loss = parts.module(batch, count_totals(examples)).loss
        with device.fixed_order():
            parts.accelerator.backward(loss * 0.0)

    notes: tuple[str, ...] = ()
    try:
        run()
    except RuntimeError as error:
        if not device.relax_order(error):
            raise
        notes = (f"a resumed run may differ in its last digits here: {str(error).splitlines()[0]}",)
        run()
    parts.optimizer.zero_grad(set_to_none=True)
    return notes


def _clip(parts: LoopParts, max_grad_norm: float) -> float:
    limit = max_grad_norm if max_grad_norm > 0 else math.inf
    norm: Tensor = parts.accelerator.clip_grad_norm_(parts.adapter.parameters.values(), limit)
    return float(norm)


def _set_learning_rate(optimizer: Any, factor: float) -> float:
    """Set every group to its own peak rate times `factor`; returns the first group's."""
    for group in optimizer.param_groups:
        group.setdefault("peak_lr", group["lr"])
        group["lr"] = group["peak_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])


def _count(state: LoopState, report: StepReport, seconds: float) -> LoopState:
    return replace(
        state,
        step=state.step + 1,
        tokens=state.tokens + report.tokens,
        supervised_tokens=state.supervised_tokens + report.supervised_tokens,
        seconds=seconds,
        window_loss=state.window_loss + report.loss,
        window_figures={
            name: state.window_figures.get(name, 0.0) + value
            for name, value in report.figures.items()
        },
        window_steps=state.window_steps + 1,
        last_loss=report.loss,
    )


def _remember(state: LoopState, val_loss: float, improved: bool) -> LoopState:
    return replace(
        state,
        last_val_loss=val_loss,
        best_val_loss=min(state.best_val_loss, val_loss),
        evaluations_since_best=0 if improved else state.evaluations_since_best + 1,
    )


def _patience_spent(state: LoopState, settings: LoopSettings) -> bool:
    return settings.patience is not None and state.evaluations_since_best >= settings.patience
