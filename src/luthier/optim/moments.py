"""Adam's moments and the direction they give, held in float or in 8 bits.

    m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
    direction = (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)       (Kingma & Ba 2015, algorithm 1)

ε stands beside the corrected √v, as in PyTorch. galore-torch puts it beside the uncorrected one,
which is this one with ε / √(1 − β₂ᵗ): no difference that 32 bits would show.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from luthier.models.quantize import import_bitsandbytes
from luthier.optim.settings import AdamSettings

# bitsandbytes' own: a block shares one absolute maximum, and what is small stays in 32 bits.
BLOCK_SIZE, SMALLEST_8_BIT = 256, 4096


def compute_direction(
    state: dict[str, Any], gradient: Tensor, step: int, adam: AdamSettings
) -> Tensor:
    """Update the moments in `state` and return the direction, of the gradient's shape.

    Args:
        step: 1 at the first call.
    """
    if "exp_avg" not in state:
        state["exp_avg"] = torch.zeros_like(gradient)
        state["exp_avg_sq"] = torch.zeros_like(gradient)
    first, second = state["exp_avg"], state["exp_avg_sq"]
    first.lerp_(gradient, 1.0 - adam.beta1)
    second.mul_(adam.beta2).addcmul_(gradient, gradient, value=1.0 - adam.beta2)
    correction1 = 1.0 - adam.beta1**step
    correction2 = math.sqrt(1.0 - adam.beta2**step)
    # m̂ / (√v̂ + ε) with both corrections in the divisor: one pass less.
    divisor = second.sqrt().mul_(correction1 / correction2).add_(correction1 * adam.epsilon)
    return torch.div(first, divisor, out=divisor)


def compute_direction_8bit(
    state: dict[str, Any], gradient: Tensor, step: int, adam: AdamSettings
) -> Tensor:
    """The same with moments in 8 bits: bitsandbytes dequantises, updates and quantises again.

    The direction comes from the updated moments before they are quantised.
    """
    if gradient.numel() < SMALLEST_8_BIT:
        return compute_direction(state, gradient, step, adam)
    dtype, gradient = gradient.dtype, gradient.float().contiguous()
    if "codes1" not in state:
        blocks = math.ceil(gradient.numel() / BLOCK_SIZE)
        for number in (1, 2):
            state[f"codes{number}"] = torch.zeros_like(gradient, dtype=torch.uint8)
            state[f"maxima{number}"] = gradient.new_zeros(blocks)
    direction = torch.zeros_like(gradient)
    signed, unsigned = _code_maps(gradient.device)
    import_bitsandbytes().optimizer_update_8bit_blockwise(
        "adam",
        gradient,
        direction,
        state["codes1"],
        state["codes2"],
        adam.beta1,
        adam.beta2,
        0.0,
        0.0,
        adam.epsilon,
        step,
        -1.0,  # it subtracts rate · direction; from zero, this leaves the direction
        signed,
        unsigned,
        state["maxima1"],
        state["maxima2"],
    )
    return direction.to(dtype)


@functools.cache
def _code_maps(device: torch.device) -> tuple[Tensor, Tensor]:
    """What the 256 codes mean, for m and for v: the same for all parameters, so not in a state."""
    create = import_bitsandbytes().create_dynamic_map
    return create(signed=True).to(device), create(signed=False).to(device)
