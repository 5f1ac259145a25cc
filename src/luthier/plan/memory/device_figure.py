"""From what a run allocates to what the device shows, and whether it fits.

PyTorch's allocator keeps freed blocks for later: the device shows what is reserved, and beside it
the CUDA context. Weights and moments are laid out once and leave no gaps; what comes and goes
with each step does. The shares are typical ones of 244 published runs (docs/planner-accuracy.md),
which differ much: shown is 1.17 times allocated on one GPU (median; 1.5 at the 90th percentile)
and 1.33 times on several. When memory runs short the allocator gives blocks back, so that runs at
0.95 of a card's capacity have been seen to work.
"""

from __future__ import annotations

from typing import Literal

from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Machine

# Reserved beyond allocated: of the activations and logits at their fullest on one device; of all on
# several, which also keep gathered layers and buffers to send from.
TRANSIENT_SHARE_ONE, RESERVED_SHARE_SEVERAL = 0.18, 0.19
# The context with all libraries' kernels and workspaces in GiB; on several devices NCCL's too.
CONTEXT_GIB, CONTEXT_SEVERAL_GIB = 2.5, 3.0
# Memory that a processor and its GPU share also holds the process itself.
PROCESS_GIB = 3.0

# Reserved memory is elastic, but blocks of many sizes never fill a card: above 0.88 of it runs
# begin to fail, and above 0.80 a longer batch than expected is enough to make them.
YES_BELOW, TIGHT_BELOW = 0.80, 0.88


def estimate_device_gib(allocated: Figure, transient_gib: float, machine: Machine) -> Figure:
    """What nvidia-smi or its like shows on each device, in GiB.

    Args:
        transient_gib: activations and logits where there are the most of them.
    """
    if machine.device.kind == "cpu":
        return Figure(allocated.value, allocated.basis, "the process itself")
    several = machine.count > 1
    context = CONTEXT_SEVERAL_GIB if several else CONTEXT_GIB
    context += PROCESS_GIB if machine.device.kind == "unified" else 0.0
    capacity = machine.device.capacity_gib.value
    gaps = TRANSIENT_SHARE_ONE * transient_gib
    if several:
        gaps = RESERVED_SHARE_SEVERAL * allocated.value
    # What is reserved cannot be more than there is; a run that needs less than that may fill it.
    most = max(capacity, allocated.value + context)
    shown = allocated.value + gaps + context
    if shown <= most:
        how = f"allocated, {gaps:.1f} GiB of freed blocks and {context:g} GiB of context"
    elif most > capacity:
        how = f"allocated + {context:g} GiB of context"
    else:
        how = "all of it: PyTorch keeps freed blocks"
    return Figure(min(shown, most), "assumed", how)


def judge_fit(allocated_gib: float, capacity_gib: float) -> Literal["yes", "tight", "no"]:
    """Whether a run that allocates this much runs on a device of that capacity."""
    share = allocated_gib / capacity_gib
    return "yes" if share <= YES_BELOW else "tight" if share <= TIGHT_BELOW else "no"
