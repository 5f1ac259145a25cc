"""How much of each thing one device holds, when several share a run."""

from __future__ import annotations

from typing import NamedTuple

from luthier.plan.machine.hardware import Machine

# What ZeRO-3 may hold gathered beyond the layer in use: one more, fetched ahead.
_LAYERS_AHEAD = 1
# Weights of which ZeRO-3 moves so many at once, DeepSpeed's `sub_group_size` unless it is set.
_SUB_GROUP = 1e9


class Shares(NamedTuple):
    """Divisors of what a whole run holds; infinite for what lies in the host's memory.

    Attributes:
        weights, gradients, optimizer: divisors.
        adapter: of the adapter's weights.
        gathered_layers: transformer layers whose whole weights are there at once; 0 where the
            weights are not sharded.
        buckets: whole copies of the gradients that are sent around.
        keeps_inputs: frozen units keep their input and its gradient until the backward pass ends.
        stepped: weights of one device that the optimizer moves at once.
    """

    weights: float = 1
    gradients: float = 1
    optimizer: float = 1
    adapter: float = 1
    gathered_layers: int = 0
    buckets: int = 0
    keeps_inputs: bool = False
    stepped: float = float("inf")


def choose_shares(machine: Machine) -> Shares:
    """What one of the machine's devices holds."""
    count = machine.count
    match machine.sharding:
        case "none":
            return Shares()
        case "ddp":
            # The reducer's buckets are a second copy of the gradients.
            return Shares(buckets=1 if count > 1 else 0)
        case "zero2":
            return Shares(1, count, count, 1)
        case "zero3":
            return Shares(count, count, count, count, 1 + _LAYERS_AHEAD, stepped=_SUB_GROUP)
        case "zero3-offload":
            out = float("inf")
            return Shares(out, out, out, out, 1 + _LAYERS_AHEAD)
        case "fsdp" | "fsdp-bf16":
            return Shares(count, count, count, count, 1, keeps_inputs=True)
