"""Weights and gradients for the optimizers' tests, and a run over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from luthier.optim.settings import ProjectionSettings
from luthier.optim.table import OPTIMIZERS

TALL, WIDE, SQUARE = (24, 10), (10, 24), (16, 16)


def draw_gradients(
    shape: tuple[int, ...], steps: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Normal gradients, each of another size, so that a limiter has something to do."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 2.0 ** torch.randn(steps, generator=generator)
    return [float(s) * torch.randn(shape, generator=generator).to(dtype) for s in sizes]


def run_steps(
    optimizer: torch.optim.Optimizer,
    weight: Tensor,
    gradients: Sequence[Tensor],
    before_step: Callable[[int], object] = lambda step: None,
) -> None:
    """One step for each gradient; `before_step` gets its number, from 1."""
    for step, gradient in enumerate(gradients, start=1):
        weight.grad = gradient.clone()
        before_step(step)
        optimizer.step()


def make_group(parameter: nn.Parameter, name: str = "w", **group: Any) -> dict[str, Any]:
    return {"params": [parameter], "names": [name], "lr": 0.01, "weight_decay": 0.0, **group}


def project(rank: int = 4, gap: int = 3, **settings: Any) -> ProjectionSettings:
    return ProjectionSettings(frozenset({"w"}), rank, gap, **settings)


PROJECTED = [name for name in OPTIMIZERS if not name.startswith("adamw")]
