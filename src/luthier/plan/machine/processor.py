"""This machine's processor as a device: its memory is read, its rates are assumed."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import NamedTuple

from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Device

CPUINFO = Path("/proc/cpuinfo")
CONTROL_GROUP = Path("/sys/fs/cgroup")
# Where the processor does not tell: a server's clock under full load.
ASSUMED_HERTZ = 2.5e9
# A server's memory bandwidth divided by its cores is some 5 to 12 GB/s.
ASSUMED_BANDWIDTH_GB_S_PER_CORE = 10.0


class Processor(NamedTuple):
    """What the operating system tells of the processor.

    Attributes:
        name: its model name.
        cores: physical cores this process may use.
        hertz: clock.
        operations_per_cycle: float32 additions and multiplications of one core in one cycle.
    """

    name: str
    cores: int
    hertz: float
    operations_per_cycle: int


def describe_processor() -> Device:
    """This machine's processor: memory as the system states it, float32 rate from its clock."""
    processor = read_processor(CPUINFO)
    tflops = processor.cores * processor.hertz * processor.operations_per_cycle / 1e12
    rate = (
        f"float32: {processor.cores} cores x {processor.hertz / 1e9:.1f} GHz x "
        f"{processor.operations_per_cycle} operations a cycle"
    )
    bandwidth = processor.cores * ASSUMED_BANDWIDTH_GB_S_PER_CORE
    memory_bytes = read_memory_bytes()
    return Device(
        name=processor.name,
        kind="cpu",
        bf16_tflops=Figure(tflops, "assumed", rate),
        memory_gb=Figure(memory_bytes / 1e9, "measured", "this system's memory"),
        bandwidth_gb_s=Figure(bandwidth, "assumed", "10 GB/s a core"),
        usd_per_hour=None,
        watts=None,
        memory_mib=Figure(memory_bytes / 2**20, "measured", "this system's memory"),
        note="Runs on a processor compute in float32, and its rate is that of float32.",
    )


def read_processor(cpuinfo: Path) -> Processor:
    """The processor from Linux's `cpuinfo`; assumed values where there is none.

    Threads that share a core count once, and a control group's limit on processors holds.
    """
    blocks: list[dict[str, str]] = []
    with contextlib.suppress(OSError):
        for block in cpuinfo.read_text(encoding="utf-8").strip().split("\n\n"):
            pairs = (line.partition(":") for line in block.splitlines())
            blocks.append({key.strip(): value.strip() for key, _, value in pairs})
    allowed = _list_allowed()
    usable = [block for block in blocks if int(block.get("processor", -1)) in allowed]
    first = usable[0] if usable else {}
    clocks = [float(block["cpu MHz"]) * 1e6 for block in usable if "cpu MHz" in block]
    return Processor(
        name=first.get("model name") or platform.machine() or "cpu",
        cores=min(_count_cores(usable) or len(allowed), _read_processor_limit()),
        hertz=max(clocks, default=ASSUMED_HERTZ),
        operations_per_cycle=_count_operations(first),
    )


def read_memory_bytes() -> int:
    """Memory that this process may use: the system's, or its control group's if smaller."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int((CONTROL_GROUP / "memory.max").read_text()))
    return total


def _list_allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _count_cores(blocks: list[dict[str, str]]) -> int:
    return len(
        {
            (block.get("physical id"), block.get("core id", number))
            for number, block in enumerate(blocks)
        }
    )


def _read_processor_limit() -> int:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (CONTROL_GROUP / "cpu.max").read_text().split()
        return max(1, round(int(quota) / int(period)))
    return os.cpu_count() or 1


def _count_operations(block: dict[str, str]) -> int:
    """Lanes x 2 (fused multiply-add) x units: 16 x 2 x 2 with two 512-bit units, and so on."""
    flags = set(block.get("flags", block.get("Features", "")).split())
    # AMD's family 25 (Zen 3 and 4) works off a 512-bit instruction in two halves.
    halves = block.get("vendor_id") == "AuthenticAMD" and block.get("cpu family") == "25"
    if "avx512f" in flags and not halves:
        return 64
    if "avx2" in flags or "avx512f" in flags:
        return 32
    return 16
