"""GaLore, Fira and APOLLO beside galore-torch and their papers: the largest relative difference.

Each `compare_` function moves one weight by the same gradients over several projectors, here and
in the reference, and returns max |difference| / max |movement of the weight|.
"""

from __future__ import annotations

import math
from typing import Any
from unittest.mock import patch

import galore_torch.adamw
import numpy as np
import torch
from galore_torch import GaLoreAdamW
from galore_torch.galore_projector import GaLoreProjector
from torch import Tensor, nn

from luthier.optim.projection import choose_sides, draw_projection
from luthier.optim.settings import AdamSettings, OptimizerSettings, Side
from luthier.optim.table import OPTIMIZERS
from luthier.seeding import derive_seed
from verification.gradients import draw_gradients, make_group, project, run_steps

ADAM = AdamSettings(0.85, 0.95, 1e-6)
RATE, DECAY, SCALE, RANK, GAP, STEPS = 0.02, 0.3, 0.25, 4, 3, 11
GAMMA, EPSILON = 1.01, 1e-8

Array = np.ndarray[Any, np.dtype[np.float64]]


class DoubleProjector(GaLoreProjector):
    """galore-torch's projector with its SVD in float64; its own is always in float32."""

    def get_orthogonal_matrix(self, weights: Tensor, rank: int, type: str) -> Any:
        left, _, right = torch.linalg.svd(weights, full_matrices=False)
        sides = {"left": left[:, :rank], "right": right[:rank]}
        return [sides["left"], sides["right"]] if type == "full" else sides[type]


def compare_galore(side: Side, shape: tuple[int, int], dtype: torch.dtype = torch.float64) -> float:
    """Against galore-torch, whose own SVD is kept in float32.

    Two conventions differ and are set equal here: galore-torch adds ε to the uncorrected second
    moment, and decays the weight after the update where AdamW does before.
    """
    gradients = draw_gradients(shape, STEPS, dtype=dtype)
    theirs = nn.Parameter(draw_gradients(shape, 1, seed=1, dtype=dtype)[0])
    projection = {"rank": RANK, "update_proj_gap": GAP, "scale": SCALE, "proj_type": side}
    groups: Any = [{"params": [theirs], **projection}]
    reference = GaLoreAdamW(
        groups,
        lr=RATE,
        betas=(ADAM.beta1, ADAM.beta2),
        no_deprecation_warning=True,
    )

    def set_equal(step: int) -> None:
        reference.param_groups[0]["eps"] = ADAM.epsilon * math.sqrt(1 - ADAM.beta2**step)
        theirs.data.mul_(1 - RATE * DECAY)

    used = DoubleProjector if dtype == torch.float64 else GaLoreProjector
    with patch.object(galore_torch.adamw, "GaLoreProjector", used):
        run_steps(reference, theirs, gradients, set_equal)
    ours = _run("galore_adamw", gradients, side=side, scale=SCALE)
    return _relative(ours, theirs.detach().numpy(), gradients)


def compare_fira(side: Side, shape: tuple[int, int]) -> float:
    """Against algorithm 1 of the paper in NumPy, with AdamW's weight decay."""
    gradients = draw_gradients(shape, STEPS)
    weight = draw_gradients(shape, 1, seed=1)[0].numpy().copy()
    left, right = choose_sides(torch.Size(shape), side)
    adam, norm = PlainAdam(), None
    p = np.zeros(0)
    for step, gradient in enumerate(gradients):
        g = gradient.numpy()
        if step % GAP == 0:
            # torch's SVD: another's signs would carry the moments into the next period otherwise.
            u, _, vh = torch.linalg.svd(gradient, full_matrices=False)
            p = (u[:, :RANK] if left else vh[:RANK].T).numpy()
        # On the right side the paper's algorithm holds for the transposed gradient.
        g = g.T if right else g
        r = p.T @ g
        s = g - p @ r
        n = adam.move(r)
        k = np.linalg.norm(n, axis=0) / (np.linalg.norm(r, axis=0) + EPSILON)
        s = s * k
        if norm is not None:
            s = s * GAMMA / max(np.linalg.norm(s) / (norm + EPSILON), GAMMA)
        norm = np.linalg.norm(s)
        update = SCALE * (p @ n + s)
        weight = weight - RATE * DECAY * weight - RATE * (update.T if right else update)
    return _relative(_run("fira_adamw", gradients, side=side, scale=SCALE), weight, gradients)


def compare_apollo(side: Side, shape: tuple[int, int], *, mini: bool = False) -> float:
    """Against algorithm 1 of the paper in NumPy; the random matrices are drawn from the seeds."""
    gradients = draw_gradients(shape, STEPS)
    weight = draw_gradients(shape, 1, seed=1)[0].numpy().copy()
    left, right = choose_sides(torch.Size(shape), side)
    rank, scale = (1, 128.0) if mini else (RANK, 1.0)
    adam, norm = PlainAdam(), None
    for step, gradient in enumerate(gradients):
        seed = derive_seed("projection", 0, "w", step // GAP)
        drawn = draw_projection(gradient, rank, left=left, right=right, seed=seed)
        g = gradient.numpy().T if right else gradient.numpy()
        p = drawn.left if drawn.left is not None else torch.as_tensor(drawn.right).T
        p = p.numpy()
        r = p.T @ g
        n = adam.move(r)
        if mini:
            s = np.linalg.norm(n) / (np.linalg.norm(r) + EPSILON)
        else:
            s = np.linalg.norm(n, axis=0) / (np.linalg.norm(r, axis=0) + EPSILON)
        scaled = g @ np.diag(s) if np.ndim(s) else s * g
        if norm is not None:
            scaled = scaled / max(np.linalg.norm(scaled) / (norm + EPSILON) / GAMMA, 1.0)
        norm = np.linalg.norm(scaled)
        update = math.sqrt(scale) * scaled
        weight = weight - RATE * DECAY * weight - RATE * (update.T if right else update)
    name = "apollo_mini_adamw" if mini else "apollo_adamw"
    return _relative(
        _run(name, gradients, side=side, scale=scale, basis="random"), weight, gradients
    )


class PlainAdam:
    """Kingma & Ba 2015, algorithm 1."""

    def __init__(self) -> None:
        self.m, self.v, self.t = np.zeros(()), np.zeros(()), 0

    def move(self, g: Array) -> Array:
        self.t += 1
        self.m = ADAM.beta1 * self.m + (1 - ADAM.beta1) * g
        self.v = ADAM.beta2 * self.v + (1 - ADAM.beta2) * g**2
        m_hat = self.m / (1 - ADAM.beta1**self.t)
        v_hat = self.v / (1 - ADAM.beta2**self.t)
        return m_hat / (np.sqrt(v_hat) + ADAM.epsilon)


def _run(name: str, gradients: list[Tensor], **settings: Any) -> Array:
    start = draw_gradients(tuple(gradients[0].shape), 1, seed=1, dtype=gradients[0].dtype)[0]
    weight = nn.Parameter(start)
    group = make_group(weight, lr=RATE, weight_decay=DECAY)
    optimizer = OPTIMIZERS[name]([group], OptimizerSettings(ADAM, project(RANK, GAP, **settings)))
    run_steps(optimizer, weight, gradients)
    return weight.detach().numpy()


def _relative(ours: Array, theirs: Array, gradients: list[Tensor]) -> float:
    start = draw_gradients(ours.shape, 1, seed=1, dtype=gradients[0].dtype)[0].numpy()
    return float(np.abs(ours - theirs).max() / np.abs(theirs - start).max())
