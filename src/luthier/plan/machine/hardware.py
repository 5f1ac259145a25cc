"""The machine that a run is planned for."""

from __future__ import annotations

from typing import Literal, NamedTuple

from luthier.plan.figure import Figure

DeviceKind = Literal["nvidia", "amd", "unified", "cpu"]
# How several devices share a model: copies, ZeRO's stages, FSDP's full shard (with what is trained
# in float32, as accelerate has it, or in bfloat16 alone).
Sharding = Literal["none", "ddp", "zero2", "zero3", "zero3-offload", "fsdp", "fsdp-bf16"]


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
        memory_mib: capacity as the driver shows it, in 2²⁰ bytes; None where not published.
        has_bf16: False for a card without bfloat16; `bf16_tflops` then holds its float16 rate.
            On a processor True where bfloat16 was measured to be faster.
        float32_tflops: float32 products, where that is stated; else a share of `bf16_tflops`.
        note: what a plan on this device has to say, or nothing.
    """

    name: str
    kind: DeviceKind
    bf16_tflops: Figure
    memory_gb: Figure
    bandwidth_gb_s: Figure
    usd_per_hour: Figure | None
    watts: Figure | None
    memory_mib: Figure | None = None
    has_bf16: bool = True
    float32_tflops: Figure | None = None
    note: str = ""

    @property
    def capacity_gib(self) -> Figure:
        """What a program can use at most, in 2³⁰ bytes: the driver's figure, else as sold."""
        if self.memory_mib is not None:
            value = self.memory_mib.value / 1024
            return Figure(value, self.memory_mib.basis, self.memory_mib.source)
        return Figure(self.memory_gb.value * 1e9 / 2**30, "computed", "capacity as sold")


class Machine(NamedTuple):
    """The devices that one run uses, and what they cost.

    Attributes:
        device: which device.
        count: how many of it.
        sharding: how they share the model.
        usd_per_hour: price of all of them together; None where unknown.
    """

    device: Device
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    sharding: Sharding
    usd_per_hour: Figure | None
