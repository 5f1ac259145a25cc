"""AdamW in 32 and in 8 bits, and the projecting optimizers on every side and shape.

Every comparison is of movements: |difference| / the largest movement of the reference's weight.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import galore_torch.adamw8bit
import torch
from bitsandbytes.optim import AdamW8bit
from torch import Tensor, nn

from luthier.optim.settings import OptimizerSettings, Side
from luthier.optim.table import OPTIMIZERS
from verification.check import largest, relative_error
from verification.gradients import (
    SQUARE,
    TALL,
    WIDE,
    draw_gradients,
    make_group,
    project,
    run_steps,
)
from verification.projected import (
    ADAM,
    DECAY,
    RATE,
    STEPS,
    PlainAdam,
    compare_apollo,
    compare_fira,
    compare_galore,
)

SIDES: tuple[Side, ...] = ("std", "reverse_std", "right", "left")
SHAPES = (TALL, WIDE, SQUARE)
LARGE = (96, 80)  # 7680 numbers: bitsandbytes keeps fewer than 4096 in 32 bits


def compare_galore_everywhere() -> float:
    sides: tuple[Side, ...] = (*SIDES, "full")
    return largest(compare_galore(side, shape) for side in sides for shape in SHAPES)


def compare_fira_everywhere() -> float:
    return largest(compare_fira(side, shape) for side in SIDES for shape in SHAPES)


def compare_apollo_everywhere(*, mini: bool = False) -> float:
    return largest(compare_apollo(side, shape, mini=mini) for side in SIDES for shape in SHAPES)


def compare_adamw(name: str) -> float:
    """Loshchilov & Hutter 2019, algorithm 2, in NumPy and float64."""
    gradients = draw_gradients(TALL, STEPS)
    start = draw_gradients(TALL, 1, seed=1)[0]
    adam, weight = PlainAdam(), start.numpy().copy()
    for gradient in gradients:
        weight = weight - RATE * (adam.move(gradient.numpy()) + DECAY * weight)
    return compare_movement(move_ours(name, start, gradients), torch.from_numpy(weight), start)


def compare_adamw_8bit() -> float:
    """bitsandbytes' AdamW8bit, and its 32 bits for a tensor below 4096 numbers."""
    differences: list[float] = []
    for shape in (LARGE, TALL):
        gradients = draw_gradients(shape, STEPS, dtype=torch.float32)
        start = draw_gradients(shape, 1, seed=1, dtype=torch.float32)[0]
        theirs = nn.Parameter(start.clone())
        reference = AdamW8bit(
            [theirs], RATE, (ADAM.beta1, ADAM.beta2), ADAM.epsilon, weight_decay=DECAY
        )
        run_steps(reference, theirs, gradients)
        found = move_ours("adamw_bnb_8bit", start, gradients)
        differences.append(compare_movement(found, theirs, start))
    return largest(differences)


def compare_galore_8bit(side: Side = "std") -> float:
    """galore-torch's GaLoreAdamW8bit, whose low-rank moments are bitsandbytes'."""
    shape = (512, 96)
    gradients = draw_gradients(shape, STEPS, dtype=torch.float32)
    # Small, so that float32's rounding of the weight is small beside its movement.
    start = 0.01 * draw_gradients(shape, 1, seed=1, dtype=torch.float32)[0]
    theirs = nn.Parameter(start.clone())
    projection = {"rank": 16, "update_proj_gap": 3, "scale": 0.25, "proj_type": side}
    reference = galore_torch.adamw8bit.AdamW8bit(
        [{"params": [theirs], **projection}],
        RATE, (ADAM.beta1, ADAM.beta2), ADAM.epsilon, weight_decay=0.0,
    )  # fmt: skip
    with patch.object(torch.cuda, "synchronize", lambda: None):
        run_steps(reference, theirs, gradients, lambda _: theirs.data.mul_(1 - RATE * DECAY))
    settings = project(16, 3, scale=0.25, side=side)
    found = move_ours("galore_adamw_8bit", start, gradients, settings)
    return compare_movement(found, theirs, start)


def move_ours(name: str, start: Tensor, gradients: list[Tensor], projection: Any = None) -> Tensor:
    weight = nn.Parameter(start.clone())
    group = make_group(weight, lr=RATE, weight_decay=DECAY)
    optimizer = OPTIMIZERS[name]([group], OptimizerSettings(ADAM, projection))
    run_steps(optimizer, weight, gradients)
    return weight.detach()


def compare_movement(found: Tensor, expected: Tensor, start: Tensor) -> float:
    return relative_error(found - start, expected.detach() - start)
