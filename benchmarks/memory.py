"""The peak memory of this very process."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from luthier import device


def measure_peak_memory_bytes() -> int:
    """Allocated bytes on a GPU; on Linux without one, what the process itself had resident.

    `ru_maxrss` would not do here: a child process starts with its parent's peak.
    """
    if device.describe_device().kind == "cpu":
        with suppress(OSError), Path("/proc/self/status").open(encoding="utf-8") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    return device.measure_peak_memory_bytes()
