"""The low-rank space of a gradient: how it is chosen, and both ways through it.

Shapes: a weight and its gradient are (M, N), R is the rank. GaLore (Zhao et al. 2024, algorithm 2)
takes the first singular vectors of the gradient; APOLLO (Zhu et al. 2024, section 4.1) Gaussian
numbers of variance 1/R, which are drawn again from their seed in each step and never stored.

The sign of a singular vector is the SVD's; the moments of one period are carried into the next as
they are, as in galore-torch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from luthier.errors import TrainingError
from luthier.optim.settings import ProjectionSettings, Side
from luthier.seeding import derive_seed

# Halko, Martinsson & Tropp 2011, section 1.3 and algorithm 4.4.
OVERSAMPLING, POWER_ITERATIONS = 8, 2


class Projection(NamedTuple):
    """`left` (M, R) and `right` (R, N); where one is None, that side stays as it is."""

    left: Tensor | None
    right: Tensor | None

    def project(self, gradient_MN: Tensor) -> Tensor:
        """(M, N) → (R, N), (M, R), or (R, R) when both sides are projected."""
        low = gradient_MN if self.left is None else self.left.T @ gradient_MN
        return low if self.right is None else low @ self.right.T

    def add_back(self, full_MN: Tensor, low: Tensor, *, alpha: float, beta: float = 1.0) -> Tensor:
        """full ← beta · full + alpha · (low projected back), in place."""
        if self.right is None:
            assert self.left is not None
            return full_MN.addmm_(self.left, low, alpha=alpha, beta=beta)
        if self.left is not None:
            low = self.left @ low
        return full_MN.addmm_(low, self.right, alpha=alpha, beta=beta)


def take_projection(
    state: dict[str, Any], gradient_MN: Tensor, settings: ProjectionSettings, name: str
) -> Projection:
    """The projection of this step, a new one every `gap` steps; an SVD's is kept in `state`.

    Raises:
        TrainingError: the gradient is not made of numbers.
    """
    period, steps_in = divmod(state["step"], settings.gap)
    seed = derive_seed("projection", settings.seed, name, period)
    left, right = choose_sides(gradient_MN.shape, settings.side)
    rank = min(settings.rank, *gradient_MN.shape)
    if settings.basis == "random":
        return draw_projection(gradient_MN, rank, left=left, right=right, seed=seed)
    if steps_in == 0:
        vectors = _find_vectors(gradient_MN, rank, settings.basis == "randomized", seed, name)
        # Copies: a slice would keep all the other singular vectors alive.
        if left:
            state["left"] = vectors.left[:, :rank].clone()
        if right:
            state["right"] = vectors.right[:rank].clone()
    return Projection(state.get("left"), state.get("right"))


class Sides(NamedTuple):
    left: bool
    right: bool


def choose_sides(shape: torch.Size, side: Side) -> Sides:
    """Which sides of an (M, N) gradient are projected; a square one counts as tall."""
    tall = shape[0] >= shape[1]
    match side:
        case "std":
            return Sides(not tall, tall)
        case "reverse_std":
            return Sides(tall, not tall)
        case "left":
            return Sides(True, False)
        case "right":
            return Sides(False, True)
        case "full":
            return Sides(True, True)


def draw_projection(
    gradient_MN: Tensor, rank: int, *, left: bool, right: bool, seed: int
) -> Projection:
    """Gaussian numbers of variance 1/R, a function of the seed and the device."""
    generator = torch.Generator(gradient_MN.device).manual_seed(seed)
    rows, columns = gradient_MN.shape

    def draw(*shape: int) -> Tensor:
        numbers = torch.empty(shape, dtype=gradient_MN.dtype, device=gradient_MN.device)
        return numbers.normal_(0.0, 1.0 / math.sqrt(rank), generator=generator)

    return Projection(draw(rows, rank) if left else None, draw(rank, columns) if right else None)


class _Vectors(NamedTuple):
    left: Tensor  # (M, at least R)
    right: Tensor  # (at least R, N)


def _find_vectors(
    gradient_MN: Tensor, rank: int, randomized: bool, seed: int, name: str
) -> _Vectors:
    try:
        if not randomized:
            left, _, right = torch.linalg.svd(gradient_MN, full_matrices=False)
            return _Vectors(left, right)
        columns = min(rank + OVERSAMPLING, *gradient_MN.shape)
        devices = [gradient_MN.device] if gradient_MN.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            left, _, right = torch.svd_lowrank(gradient_MN, columns, POWER_ITERATIONS)
        return _Vectors(left, right.T)
    except torch.linalg.LinAlgError as error:
        raise TrainingError(
            f"the gradient of {name} has no singular vectors: it is not made of numbers. "
            "Lower learning_rate, or add warmup_steps."
        ) from error
