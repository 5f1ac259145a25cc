"""From what a run allocates to what the device shows, and whether it fits.

PyTorch's allocator keeps freed blocks for later: the device shows what is reserved, and beside it
the CUDA context. Over 244 published runs the shown figure is 1.17 times the allocated one on one
GPU (median; 1.5 at the 90th percentile) and 1.33 times on several, and when memory runs short the
allocator gives blocks back, so that runs at 0.95 of a card's capacity have been seen to work.
"""

from __future__ import annotations

from typing import Literal

from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Machine

# Reserved beyond allocated, on one device and on several, and the context in GiB.
RESERVED_SHARE_ONE, RESERVED_SHARE_SEVERAL = 0.13, 0.25
CONTEXT_GIB, CONTEXT_SEVERAL_GIB = 0.5, 1.0
# Memory that a processor and its GPU share also holds the process itself.
PROCESS_GIB = 3.0

# Reserved memory is elastic, but blocks of many sizes never fill a card: above 0.88 of it runs
# begin to fail, and above 0.80 a longer batch than expected is enough to make them.
YES_BELOW, TIGHT_BELOW = 0.80, 0.88


def estimate_device_gib(allocated: Figure, machine: Machine) -> Figure:
    """What nvidia-smi or its like shows on each device, in GiB."""
    if machine.device.kind == "cpu":
        return Figure(allocated.value, allocated.basis, "the process itself")
    context = CONTEXT_SEVERAL_GIB if machine.count > 1 else CONTEXT_GIB
    context += PROCESS_GIB if machine.device.kind == "unified" else 0.0
    capacity = machine.device.capacity_gib.value
    share = reserved_share(machine)
    shown = allocated.value * (1 + share) + context
    # What is reserved cannot be more than there is; a run that needs less than that may fill it.
    most = max(capacity, allocated.value + context)
    if shown <= most:
        how = f"allocated × {1 + share:g} + {context:g} GiB of context"
    elif most > capacity:
        how = f"allocated + {context:g} GiB of context"
    else:
        how = "all of it: PyTorch keeps freed blocks"
    return Figure(min(shown, most), "assumed", how)


def reserved_share(machine: Machine) -> float:
    """What the allocator typically holds beyond what is allocated, as a share of it."""
    return RESERVED_SHARE_SEVERAL if machine.count > 1 else RESERVED_SHARE_ONE


def judge_fit(allocated_gib: float, capacity_gib: float) -> Literal["yes", "tight", "no"]:
    """Whether a run that allocates this much runs on a device of that capacity."""
    share = allocated_gib / capacity_gib
    return "yes" if share <= YES_BELOW else "tight" if share <= TIGHT_BELOW else "no"
