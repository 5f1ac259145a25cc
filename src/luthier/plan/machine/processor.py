"""This machine's processor as a device: its memory is read, its rates are assumed."""

from __future__ import annotations

from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Device
from luthier.precision_store import find_gain
from luthier.processor import CPUINFO, read_memory_bytes, read_processor

# A server's memory bandwidth divided by its cores is some 5 to 12 GB/s.
ASSUMED_BANDWIDTH_GB_S_PER_CORE = 10.0


def describe_processor(cores: int | None = None) -> Device:
    """This machine's processor: memory as the system states it, float32 rate from its clock.

    Its bfloat16 rate is what a measurement found here (`bf16: auto`), where there was one.

    Args:
        cores: that one run may use; all that there are when absent.
    """
    processor = read_processor(CPUINFO)
    cores = min(cores or processor.cores, processor.cores)
    tflops = cores * processor.hertz * processor.operations_per_cycle / 1e12
    rate = (
        f"{cores} core{'s' if cores > 1 else ''} x {processor.hertz / 1e9:.1f} GHz x "
        f"{processor.operations_per_cycle} operations a cycle"
    )
    float32 = Figure(tflops, "assumed", f"float32: {rate}")
    measured = find_gain()
    faster = measured is not None and measured.wins
    bandwidth = cores * ASSUMED_BANDWIDTH_GB_S_PER_CORE
    memory_bytes = read_memory_bytes()
    return Device(
        name=processor.name,
        kind="cpu",
        bf16_tflops=(
            Figure(tflops * measured.gain, "assumed", f"{measured.gain:.2f} x float32: {rate}")
            if measured is not None and faster
            else float32
        ),
        memory_gb=Figure(memory_bytes / 1e9, "measured", "this system's memory"),
        bandwidth_gb_s=Figure(bandwidth, "assumed", "10 GB/s a core"),
        usd_per_hour=None,
        watts=None,
        memory_mib=Figure(memory_bytes / 2**20, "measured", "this system's memory"),
        note=(
            "bfloat16 was measured to be faster here, and `bf16: auto` takes it."
            if faster
            else "Runs on a processor compute in float32, and its rate is that of float32."
        ),
        has_bf16=faster,
        float32_tflops=float32,
    )
