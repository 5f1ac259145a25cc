"""Seconds that scoring a trained model takes: likelihoods in one pass, answers token by token."""

from __future__ import annotations

from typing import Literal, NamedTuple

from luthier.plan.figure import Figure, weakest
from luthier.plan.machine.hardware import Device
from luthier.plan.time.step_work import GATED_KERNELS, PLAIN_KERNELS, count_forward
from luthier.plan.time.utilisation import BYTES, Precision, Speeds, choose_precision, find_speeds
from luthier.plan.work.workload import Workload


class TaskLoad(NamedTuple):
    """One task of an evaluation.

    Attributes:
        name: the task's.
        kind: `likelihood` reads each example once, `generation` writes an answer to it.
        examples: that are scored.
        prompt_tokens: of an example.
        answer_tokens: that are written, or whose likelihood is worked out.
        batch_size: examples at once.
    """

    name: str
    kind: Literal["likelihood", "generation"]
    examples: Figure
    prompt_tokens: Figure
    answer_tokens: Figure
    batch_size: int = 16


class EvaluationLoad(NamedTuple):
    """What is scored after training, on one device."""

    tasks: tuple[TaskLoad, ...]


def evaluation_seconds(workload: Workload, device: Device, load: EvaluationLoad) -> Figure:
    """Seconds for all tasks of `load` on one device."""
    figures = [_task_seconds(workload, device, task) for task in load.tasks]
    if not figures:
        return Figure(0.0, "computed", "no task")
    return Figure(sum(item.value for item in figures), weakest(*figures), "evaluation")


def validation_seconds(workload: Workload, device: Device) -> Figure:
    """Seconds of one pass over the validation data."""
    tokens = workload.validation_tokens
    seconds = forward_seconds(workload, device, tokens.value)
    return Figure(seconds, weakest(tokens, Figure(0, "computed")), "validation passes")


def forward_seconds(workload: Workload, device: Device, tokens: float) -> float:
    """Seconds of forward passes over `tokens` tokens, in micro-batches like training's."""
    precision = choose_precision(workload.recipe, device, workload.engine)
    speeds = find_speeds(device, workload.facts.width, workload.recipe, workload.engine)
    batch = max(1.0, workload.mean_tokens.value)
    return tokens / batch * _pass_seconds(workload, precision, speeds, batch)


def _task_seconds(workload: Workload, device: Device, task: TaskLoad) -> Figure:
    precision = choose_precision(workload.recipe, device, workload.engine)
    speeds = find_speeds(device, workload.facts.width, workload.recipe, workload.engine)
    batches = -(-task.examples.value // task.batch_size)
    size = min(task.batch_size, max(1.0, task.examples.value))
    reading = _pass_seconds(workload, precision, speeds, size * task.prompt_tokens.value)
    if task.kind == "likelihood":
        reading = _pass_seconds(
            workload,
            precision,
            speeds,
            size * (task.prompt_tokens.value + task.answer_tokens.value),
        )
        seconds = batches * reading
    else:
        each = _token_seconds(workload, precision, speeds, size, task)
        seconds = batches * (reading + task.answer_tokens.value * each)
    basis = weakest(task.examples, task.prompt_tokens, task.answer_tokens, speeds.basis)
    return Figure(seconds, basis, task.name)


def _pass_seconds(workload: Workload, precision: Precision, speeds: Speeds, tokens: float) -> float:
    """One forward pass over `tokens` tokens."""
    forward = count_forward(workload, precision, tokens)
    weights = workload.facts.parameters * BYTES[precision]
    seconds = (
        forward.product_flops / speeds.product_flops
        + forward.attention_flops / speeds.attention_flops
        + forward.layer_bytes / speeds.layer_bytes
        + weights / speeds.bytes
    )
    starting = forward.kernels * speeds.kernel_seconds
    return seconds + starting if speeds.waits_for_kernels else max(seconds, starting)


def _token_seconds(
    workload: Workload, precision: Precision, speeds: Speeds, size: float, task: TaskLoad
) -> float:
    """One more token for each of `size` answers: the weights and the keys and values are read."""
    facts, number = workload.facts, BYTES[precision]
    seen = task.prompt_tokens.value + task.answer_tokens.value / 2
    cache = 2 * facts.layers * facts.kv_heads * facts.head_width * seen * size * number
    moved = (facts.parameters * number + cache) / speeds.bytes
    computed = 2.0 * facts.active_parameters * size / speeds.product_flops
    starting = facts.layers * (GATED_KERNELS if facts.gated else PLAIN_KERNELS)
    starting *= speeds.kernel_seconds
    if speeds.waits_for_kernels:
        return moved + computed + starting
    return max(moved + computed, starting)
