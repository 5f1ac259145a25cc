"""Seconds of one optimizer step, from what it computes, moves and starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from luthier.plan.figure import Figure, weakest
from luthier.plan.machine.hardware import Machine
from luthier.plan.time.communication import GATHERED, estimate_communication
from luthier.plan.time.step_work import count_step_work
from luthier.plan.time.utilisation import BYTES, cache_speed_up, choose_precision, find_speeds
from luthier.plan.work.workload import Workload

# What shards a step's optimizer over the devices.
_SHARDED_OPTIMIZER = GATHERED | {"zero2"}


class StepTime(NamedTuple):
    """One optimizer step as the model has it.

    Attributes:
        seconds: of the step, on every device alike.
        parts: name → seconds; kernels are started while others compute, except on a processor.
    """

    seconds: Figure
    parts: Mapping[str, float]


def estimate_step(workload: Workload, machine: Machine) -> StepTime:
    """One optimizer step: products, attention, bytes, kernels started, communication."""
    recipe, device = workload.recipe, machine.device
    precision = choose_precision(recipe, device, workload.engine)
    speeds = find_speeds(device, workload.facts.width, recipe, workload.engine)
    shards = machine.count if machine.sharding in _SHARDED_OPTIMIZER else 1
    work = count_step_work(workload, precision, shards)
    tensor = workload.mean_tokens.value * workload.facts.ffn_width * BYTES[precision]
    layer_bytes = speeds.layer_bytes * cache_speed_up(device, tensor)
    parts = {
        "products": work.product_flops / speeds.product_flops,
        "attention": work.attention_flops / speeds.attention_flops,
        "layers": work.layer_bytes / layer_bytes,
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


def count_step_tokens(workload: Workload, machine: Machine) -> float:
    """Tokens of one optimizer step on all devices that work at once."""
    # Without sharding only one device at a time has the layer that is worked on.
    at_once = 1 if machine.sharding == "none" else machine.count
    per_device = workload.mean_tokens.value * workload.recipe.gradient_accumulation_steps
    return per_device * at_once
