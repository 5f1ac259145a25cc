"""The space a gradient is projected to."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from verification.gradients import TALL, WIDE, draw_gradients, make_group, project, run_steps

from luthier.errors import TrainingError
from luthier.optim.projection import Projection, choose_sides, draw_projection, take_projection
from luthier.optim.settings import OptimizerSettings, ProjectionSettings
from luthier.optim.table import OPTIMIZERS


def take(gradient: torch.Tensor, settings: ProjectionSettings, step: int = 0) -> Projection:
    return take_projection({"step": step}, gradient, settings, "w")


def low_rank_gradient(shape: tuple[int, int], rank: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    left = torch.randn(shape[0], rank, dtype=torch.float64, generator=generator)
    return left @ torch.randn(rank, shape[1], dtype=torch.float64, generator=generator)


def shadow(projection: Projection) -> torch.Tensor:
    """P Pᵀ, which knows the space and not the signs of its basis."""
    if projection.left is not None:
        return projection.left @ projection.left.T
    assert projection.right is not None
    return projection.right.T @ projection.right


@pytest.mark.parametrize("shape", [(90, 40), (40, 90)])
def test_the_randomized_svd_finds_the_exact_space_of_a_low_rank_gradient(
    shape: tuple[int, int],
) -> None:
    gradient = low_rank_gradient(shape, 6)
    exact = take(gradient, project(rank=6))
    randomized = take(gradient, project(rank=6, basis="randomized"))
    assert torch.allclose(shadow(exact), shadow(randomized), rtol=0, atol=1e-10)


def test_the_randomized_svd_keeps_almost_all_that_the_exact_keeps_under_noise() -> None:
    gradient = low_rank_gradient((90, 40), 6) + 0.3 * draw_gradients((90, 40), 1)[0]
    kept = [
        float((gradient @ shadow(take(gradient, project(rank=6, basis=basis)))).norm())
        for basis in ("exact", "randomized")
    ]
    assert kept[1] == pytest.approx(kept[0], rel=1e-3)


def test_the_randomized_svd_is_a_function_of_the_seed_and_draws_no_other_number() -> None:
    gradient, settings = draw_gradients(TALL, 1)[0], project(rank=2, basis="randomized")
    torch.manual_seed(0)
    first = take(gradient, settings)
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(3))
    again, other = take(gradient, settings), take(gradient, settings._replace(seed=1))
    assert torch.equal(shadow(first), shadow(again))
    assert not torch.equal(shadow(first), shadow(other))


@pytest.mark.parametrize("basis", ["exact", "randomized"])
def test_an_svd_basis_is_orthonormal_and_keeps_only_its_own_memory(basis: str) -> None:
    state = {"step": 0}
    settings = project(rank=4, side="full", basis=basis)
    projection = take_projection(state, draw_gradients(TALL, 1)[0], settings, "w")
    assert projection.left is not None
    assert projection.right is not None
    identity = torch.eye(4, dtype=torch.float64)
    assert torch.allclose(projection.left.T @ projection.left, identity, atol=1e-12)
    assert torch.allclose(projection.right @ projection.right.T, identity, atol=1e-12)
    assert projection.left.untyped_storage().nbytes() == 24 * 4 * 8
    assert projection.right.untyped_storage().nbytes() == 4 * 10 * 8


def test_the_projector_changes_only_every_gap_steps() -> None:
    weight = nn.Parameter(draw_gradients(TALL, 1)[0])
    optimizer = OPTIMIZERS["galore_adamw"](
        [make_group(weight)], OptimizerSettings(projection=project(gap=3))
    )
    seen: list[torch.Tensor] = []
    for gradient in draw_gradients(TALL, 7):
        run_steps(optimizer, weight, [gradient])
        seen.append(optimizer.state[weight]["right"])
    same = [seen[i] is seen[i + 1] for i in range(6)]
    assert same == [True, True, False, True, True, False]


def test_a_random_projection_keeps_lengths_on_average_and_changes_with_period_and_name() -> None:
    gradient, settings = draw_gradients((400, 300), 1)[0], project(rank=100, basis="random")
    low = take(gradient, settings).project(gradient)
    assert low.shape == (400, 100)
    assert float(low.norm()) == pytest.approx(float(gradient.norm()), rel=0.03)
    same_period = take(gradient, settings, step=2).right
    next_period = take(gradient, settings, step=3).right
    assert torch.equal(take(gradient, settings).right, same_period)
    assert not torch.equal(next_period, same_period)
    other = take_projection({"step": 0}, gradient, settings, "another weight").right
    assert not torch.equal(other, same_period)


def test_a_rank_above_the_shorter_side_projects_to_that_side() -> None:
    gradient = draw_gradients(WIDE, 1)[0]
    for basis in ("exact", "randomized", "random"):
        assert take(gradient, project(rank=99, basis=basis)).project(gradient).shape == (10, 24)


def test_std_projects_the_shorter_side() -> None:
    tall, wide = torch.Size(TALL), torch.Size(WIDE)
    assert choose_sides(tall, "std") == (False, True)
    assert choose_sides(wide, "std") == (True, False)
    assert choose_sides(tall, "reverse_std") == (True, False)
    assert choose_sides(wide, "reverse_std") == (False, True)


def test_a_gradient_that_is_not_made_of_numbers_is_named() -> None:
    gradient = torch.full(TALL, torch.nan)
    with pytest.raises(TrainingError, match=r"gradient of w .* Lower learning_rate"):
        take(gradient, project())


def test_drawing_has_variance_one_over_rank() -> None:
    right = draw_projection(torch.zeros(4, 5000), 50, left=False, right=True, seed=1).right
    assert right is not None
    assert float(right.var()) == pytest.approx(1 / 50, rel=0.02)
