"""Seconds that several devices spend on telling each other their weights and gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Device, Machine, Sharding
from luthier.plan.time.utilisation import BYTES, Precision
from luthier.plan.work.workload import Workload
from luthier.recipe.resolve import quantised_bits
from luthier.recipe.schema import Recipe

# Bytes per second from one device to the others (one direction), in 10⁹: NVLink's generations,
# AMD's Infinity Fabric, a DGX Spark's 200 Gbit/s network, else PCIe 4 × 16.
_LINKS_GB_S: Mapping[str, float] = {
    "A100-40GB": 300,
    "A100-80GB": 300,
    "H100-SXM": 450,
    "H100-NVL": 300,
    "H100-PCIe": 64,
    "H200": 450,
    "H200-NVL": 450,
    "B200": 900,
    "GB10": 25,
    "MI300X": 448,
    "MI250X": 200,
    "RTX 5090": 64,
}
PCIE_GB_S = 32
# What collective operations reach of it, and the share that does not hide behind products.
LINK_SHARE = 0.7
EXPOSED_SHARE = 0.3
# Kernels that send take multiprocessors from those that compute; and each layer's weights are
# waited for and laid out anew in each pass. Both from fms-acceleration's rows, 2 and 4 A100s
# against one with the same micro-batch.
SHARDED_SLOWDOWN = 0.015
GATHER_SECONDS_PER_LAYER = 1e-3
OFFLOAD_PCIE_GB_S = 25
# Weights lie spread over the devices and are gathered for each pass.
GATHERED: frozenset[Sharding] = frozenset({"zero3", "zero3-offload", "fsdp", "fsdp-bf16"})
# AdamW on a server's processor, a weight a second and device's share (DeepSpeed's CPUAdam).
CPU_ADAM_WEIGHTS_PER_SECOND = 0.8e9


class Communication(NamedTuple):
    """Of one optimizer step.

    Attributes:
        seconds: that are not hidden behind products.
        slowdown: of the products while weights are sent, as a share.
    """

    seconds: Figure
    slowdown: float


def link_gb_s(device: Device) -> float:
    """Bandwidth from one device to the others, in 10⁹ bytes per second."""
    return _LINKS_GB_S.get(device.name, PCIE_GB_S)


def estimate_communication(
    workload: Workload, machine: Machine, precision: Precision
) -> Communication:
    """What one optimizer step waits for other devices, and for the host with offload.

    Copies (ddp) and ZeRO-2 reduce gradients once a step: 2·(n − 1)/n of their bytes go through
    each device's link. ZeRO-3 and FSDP gather the weights for each pass of each micro-batch and
    scatter the gradients: (n − 1)/n of their bytes each time.
    """
    count, sharding = machine.count, machine.sharding
    recipe = workload.recipe
    number = BYTES[precision]
    moved = gathering = 0.0
    share = (count - 1) / count
    if sharding in ("ddp", "zero2"):
        moved = 2 * share * workload.trainable * number
    elif sharding in GATHERED:
        passes = _count_passes(recipe)
        moved = share * (passes * _weight_bytes(workload, number) + workload.trainable * number)
        if count > 1:
            gathering = passes * workload.facts.layers * GATHER_SECONDS_PER_LAYER
    rate = link_gb_s(machine.device) * 1e9 * LINK_SHARE
    seconds = moved / rate * EXPOSED_SHARE + gathering
    if sharding == "zero3-offload":
        seconds += _offload_seconds(workload, machine, number)
    slowdown = SHARDED_SLOWDOWN if sharding in GATHERED and count > 1 else 0.0
    return Communication(Figure(seconds, "assumed", "nominal links, 70% reached"), slowdown)


def _count_passes(recipe: Recipe) -> int:
    """Passes over the layers in one optimizer step: forward, backward, forward again."""
    return (3 if recipe.gradient_checkpointing else 2) * recipe.gradient_accumulation_steps


def _weight_bytes(workload: Workload, number: int) -> float:
    """Bytes of the model as it is gathered."""
    facts, bits = workload.facts, quantised_bits(workload.recipe)
    if bits is None:
        return facts.parameters * number
    return facts.linear_weights * bits / 8 + (facts.parameters - facts.linear_weights) * number


def _offload_seconds(workload: Workload, machine: Machine, number: int) -> float:
    """Weights come over PCIe for each pass, gradients go back, the processor moves the weights."""
    recipe, rate = workload.recipe, OFFLOAD_PCIE_GB_S * 1e9
    passes = _count_passes(recipe)
    weights = _weight_bytes(workload, number) / machine.count * passes
    trained = workload.trainable / machine.count
    # The processor is shared by all devices.
    moving = workload.trainable / CPU_ADAM_WEIGHTS_PER_SECOND
    return (weights + 2 * trained * number) / rate + moving
