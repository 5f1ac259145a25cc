"""The machine that a run is planned for."""

from __future__ import annotations

from typing import Literal, NamedTuple

from luthier.plan.figure import Figure

DeviceKind = Literal["nvidia", "amd", "unified", "cpu"]
# How several devices share a model: copies, ZeRO's stages, FSDP's full shard.
Sharding = Literal["none", "ddp", "zero2", "zero3", "zero3-offload", "fsdp"]


class Device(NamedTuple):
    """One GPU, or one machine's CPU.

    Attributes:
        name: its name in the table of devices.
        kind: `unified` shares its memory with the processor.
        bf16_tflops: dense bfloat16 products per second, in 10¹².
        memory_gb: capacity in 10⁹ bytes, as it is sold.
        bandwidth_gb_s: memory bandwidth in 10⁹ bytes per second.
        usd_per_hour: a typical price to rent one; None where there is none.
        watts: board power; None where unknown.
    """

    name: str
    kind: DeviceKind
    bf16_tflops: Figure
    memory_gb: Figure
    bandwidth_gb_s: Figure
    usd_per_hour: Figure | None
    watts: Figure | None


class Machine(NamedTuple):
    """The devices that one run uses, and what they cost.

    Attributes:
        device: which device.
        count: how many of it.
        sharding: how they share the model.
        usd_per_hour: price of all of them together; None where unknown.
    """

    device: Device
    count: int
    sharding: Sharding
    usd_per_hour: Figure | None
