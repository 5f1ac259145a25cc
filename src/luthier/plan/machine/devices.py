"""From a device's name, however it is spelt, to the machine that a run is planned for."""

from __future__ import annotations

import difflib
import functools
import math
import re
import shutil
import subprocess
from typing import NamedTuple

from luthier.errors import PlanError
from luthier.plan.figure import Figure
from luthier.plan.machine.device_table import DEVICES, SPELLINGS
from luthier.plan.machine.hardware import Device, Machine, Sharding
from luthier.plan.machine.processor import describe_processor

__all__ = [
    "DEVICES",
    "build_machine",
    "count_devices",
    "describe_processor",
    "describe_this_machine",
    "find_device",
]

CPU = "cpu"
NVIDIA_SMI_TIMEOUT_SECONDS = 3.0
_NOISE = re.compile(r"nvidia|geforce|amd|instinct|tesla|quadro|radeon|generation|graphics|gpu")


class SeenGpu(NamedTuple):
    """One line of nvidia-smi; the memory is None where the driver does not count it."""

    name: str
    memory_mib: int | None


def find_device(name: str, cores: int | None = None) -> Device:
    """The device of the table that `name` means; `cpu` is this machine's processor.

    Letters' case, spaces, dashes and makers' names do not count, so that what nvidia-smi or a
    cloud calls a card is understood. `H100` alone is taken as the SXM board, and its rates say so.

    Args:
        cores: of the processor that one run may use; all when absent.

    Raises:
        PlanError: an unknown name, or one that fits several boards with different memory.
    """
    if _squeeze(name) == CPU:
        return describe_processor(cores)
    if _squeeze(name) in ("h100", "h10080", "h10080gb"):
        return _assume_board(DEVICES["H100-SXM"], "no board is named: taken as SXM, not PCIe")
    found = _match(name)
    if len(found) == 1:
        return found[0]
    if found:
        raise PlanError(
            f"--gpu {name} fits {' and '.join(device.name for device in found)}, which differ "
            "in memory. Name one of them."
        )
    names = [*DEVICES, CPU]
    near = difflib.get_close_matches(_squeeze(name), [_squeeze(item) for item in names], n=3)
    close = [item for item in names if _squeeze(item) in near] or names
    raise PlanError(
        f"--gpu {name}: not in the table of devices. "
        f"{'Nearest' if near else 'It has'}: {', '.join(close)}."
    )


def describe_this_machine() -> Device:
    """The GPU that nvidia-smi shows first, with the memory it shows; else the processor.

    Raises:
        PlanError: a GPU that is not in the table.
    """
    seen = _ask_nvidia_smi()
    if not seen:
        return describe_processor()
    name, memory_mib = seen[0]
    found = _match(name)
    if not found:
        raise PlanError(
            f"This machine's {name} is not in the table of devices. "
            "Plan for one that is like it with --gpu NAME."
        )
    if memory_mib is None:
        return found[0]
    device = min(found, key=lambda item: abs(_shown_mib(item) - memory_mib))
    return device._replace(memory_mib=Figure(memory_mib, "measured", "nvidia-smi here"))


def count_devices() -> int:
    """GPUs that nvidia-smi shows here; 1 where there are none, for the processor."""
    return len(_ask_nvidia_smi()) or 1


def build_machine(
    device: Device, count: int, sharding: Sharding, usd_per_hour_each: float | None
) -> Machine:
    """`count` of a device and their price together: the given one, else the table's typical one.

    Raises:
        PlanError: fewer than one device, or a negative price.
    """
    if count < 1:
        raise PlanError(f"--gpus {count}: give 1 or more.")
    if usd_per_hour_each is not None and not 0 <= usd_per_hour_each < math.inf:
        raise PlanError(f"--usd-per-hour {usd_per_hour_each:g}: give 0 or more.")
    price = device.usd_per_hour
    if usd_per_hour_each is not None:
        price = Figure(usd_per_hour_each, "given", "--usd-per-hour")
    if price is not None and count > 1:
        price = Figure(count * price.value, price.basis, f"{count} x {price.source}")
    return Machine(device, count, sharding, price)


def _squeeze(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", _NOISE.sub("", name.lower()))


@functools.cache
def _index_spellings() -> dict[str, tuple[Device, ...]]:
    index: dict[str, tuple[Device, ...]] = {}
    for name, device in DEVICES.items():
        for spelling in (name, *SPELLINGS.get(name, ())):
            for key in (_squeeze(spelling), f"{_squeeze(spelling)}{device.memory_gb.value:g}gb"):
                others = (item for item in index.get(key, ()) if item.name != name)
                index[key] = (*others, device)
    return index


def _match(name: str) -> tuple[Device, ...]:
    return _index_spellings().get(_squeeze(name), ())


def _assume_board(device: Device, why: str) -> Device:
    """A device whose rates hold only if it is the board that is assumed."""
    return device._replace(
        bf16_tflops=Figure(device.bf16_tflops.value, "assumed", why),
        bandwidth_gb_s=Figure(device.bandwidth_gb_s.value, "assumed", why),
        watts=None if device.watts is None else Figure(device.watts.value, "assumed", why),
    )


def _shown_mib(device: Device) -> float:
    return device.capacity_gib.value * 1024


@functools.cache
def _ask_nvidia_smi() -> tuple[SeenGpu, ...]:
    """Every GPU as the driver names it; none where nvidia-smi is missing or does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(_read_line(line) for line in answer.stdout.splitlines() if line.strip())


def _read_line(line: str) -> SeenGpu:
    name, _, memory = line.rpartition(",")
    # Where memory is shared with the system, the driver writes [N/A].
    return SeenGpu(name.strip(), int(memory) if memory.strip().isdigit() else None)
