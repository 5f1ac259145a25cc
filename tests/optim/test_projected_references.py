"""GaLore against galore-torch, Fira and APOLLO against their papers, over several projectors."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from verification.gradients import (
    SQUARE,
    TALL,
    WIDE,
    draw_gradients,
    make_group,
    project,
    run_steps,
)
from verification.projected import compare_apollo, compare_fira, compare_galore

from luthier.optim.settings import AdamSettings, OptimizerSettings, Side
from luthier.optim.table import OPTIMIZERS

SIDES: list[Side] = ["std", "reverse_std", "right", "left"]
SHAPES = [TALL, WIDE, SQUARE]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [*SIDES, "full"])
def test_galore_moves_a_weight_as_galore_torch_does(side: Side, shape: tuple[int, int]) -> None:
    assert compare_galore(side, shape) < 1e-12


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [*SIDES, "full"])
def test_galore_equals_galore_torch_as_published_in_float32(
    side: Side, shape: tuple[int, int]
) -> None:
    assert compare_galore(side, shape, torch.float32) < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", SIDES)
def test_fira_moves_a_weight_by_its_papers_algorithm(side: Side, shape: tuple[int, int]) -> None:
    assert compare_fira(side, shape) < 1e-12


@pytest.mark.parametrize("mini", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", SIDES)
def test_apollo_moves_a_weight_by_its_papers_algorithm(
    side: Side, shape: tuple[int, int], mini: bool
) -> None:
    assert compare_apollo(side, shape, mini=mini) < 1e-12


def test_galore_is_adamw_where_the_singular_vectors_are_the_axes() -> None:
    """Diagonal gradients with entries of a fixed order: P is a permutation, Adam ignores it."""
    diagonal = torch.diag(torch.arange(6.0, 0.0, -1.0, dtype=torch.float64))
    gradients = [scale * diagonal for scale in (1.0, 0.3, 2.0, 0.7, 1.5)]
    start = draw_gradients((6, 6), 1)[0]
    ends: list[torch.Tensor] = []
    for name in ("galore_adamw", "adamw_torch"):
        weight = nn.Parameter(start.clone())
        projection = project(rank=6, gap=1, scale=1.0)
        optimizer = OPTIMIZERS[name](
            [make_group(weight, lr=0.1, weight_decay=0.1)],
            OptimizerSettings(AdamSettings(), projection),
        )
        run_steps(optimizer, weight, gradients)
        ends.append(weight.detach())
    assert torch.allclose(ends[0], ends[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [TALL, WIDE])
def test_fira_at_full_rank_is_galore_at_full_rank(shape: tuple[int, int]) -> None:
    """Nothing is left out, so nothing is added; 1e-8: the limiter sees a norm of rounding."""
    gradients, ends = draw_gradients(shape, 7), list[torch.Tensor]()
    for name in ("galore_adamw", "fira_adamw"):
        weight = nn.Parameter(draw_gradients(shape, 1, seed=1)[0])
        optimizer = OPTIMIZERS[name](
            [make_group(weight)], OptimizerSettings(AdamSettings(), project(rank=10))
        )
        run_steps(optimizer, weight, gradients)
        ends.append(weight.detach())
    assert torch.allclose(ends[0], ends[1], rtol=0, atol=1e-8)
