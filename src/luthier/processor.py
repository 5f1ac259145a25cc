"""This machine's processor: what the operating system tells of it, and how its cores are shared.

No torch here: plans read it, and what threads do while they wait must be said before torch loads.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from pathlib import Path
from typing import NamedTuple

from luthier.control_groups import read_core_limit, read_memory_limit_bytes

CPUINFO = Path("/proc/cpuinfo")
# Where the processor does not tell: a server's clock under full load.
ASSUMED_HERTZ = 2.5e9
# How often a thread looks whether the others are done before it sleeps. GNU's OpenMP looks 300,000
# times, some ten milliseconds: beside one busy program that cost three quarters of the speed, since
# a thread that waits holds the core which the awaited one needs (docs/log.md).
LOOKS_BEFORE_SLEEP = "500"
# The same for LLVM's and Intel's, in milliseconds (200 by default).
SLEEP_AFTER_MS = "0"


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


def share_cores() -> None:
    """Let threads that wait for each other sleep soon; what the user has set stays.

    Works until torch is imported, which reads it once.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", LOOKS_BEFORE_SLEEP)
        os.environ.setdefault("KMP_BLOCKTIME", SLEEP_AFTER_MS)


def gpu_may_be_here() -> bool:
    """Whether a run might find a GPU; only torch knows for certain."""
    nodes = ("/dev/nvidia0", "/dev/kfd", "/dev/dxg")
    return sys.platform != "linux" or any(Path(node).exists() for node in nodes)


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
    cores = _count_cores(usable) or len(allowed)
    return Processor(
        name=first.get("model name") or platform.machine() or "cpu",
        cores=min(cores, read_core_limit() or cores),
        hertz=max(clocks, default=ASSUMED_HERTZ),
        operations_per_cycle=_count_operations(first),
    )


def read_memory_bytes() -> int:
    """Memory that this process may use: the system's, or its control group's if smaller."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, read_memory_limit_bytes() or total)


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
