"""What every optimizer of the table owes: rates, decay, resume, memory, and that it really runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from verification.gradients import PROJECTED, draw_gradients, make_group, project, run_steps

from luthier.errors import ModelError
from luthier.optim.groups import GroupSettings, build_groups
from luthier.optim.moments import compute_direction, compute_direction_8bit
from luthier.optim.settings import AdamSettings, OptimizerSettings
from luthier.optim.state_size import measure_state_bytes
from luthier.optim.table import OPTIMIZERS
from luthier.train.checkpoint import OPTIMIZER, load_optimizer

# Large enough that the low-rank moments are quantised: 128 × 40 > 4096.
SHAPE = (128, 96)
SETTINGS = OptimizerSettings(projection=project(rank=40, gap=3, basis="randomized"))


def build(name: str, dtype: torch.dtype = torch.float32) -> tuple[Any, list[nn.Parameter]]:
    """A projected weight, an embedding and a bias, in the groups of a run."""
    shapes = {"w": SHAPE, "embedding": (70, 64), "bias": (9,)}
    parameters = {
        key: nn.Parameter(draw_gradients(shape, 1, seed=1, dtype=dtype)[0])
        for key, shape in shapes.items()
    }
    roles = dict.fromkeys(parameters, "full")
    groups = build_groups(parameters, roles, GroupSettings(0.01, 0.1))
    return OPTIMIZERS[name](groups, SETTINGS), list(parameters.values())


def move(optimizer: Any, parameters: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        for number, parameter in enumerate(parameters):
            seed, shape = 100 * step + number, tuple(parameter.shape)
            parameter.grad = draw_gradients(shape, 1, seed=seed, dtype=parameter.dtype)[0]
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_resumed_inside_a_period_equals_an_uninterrupted_one_bit_for_bit(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    whole, expected = build(name, dtype)
    move(whole, expected, range(8))
    first, weights = build(name, dtype)
    move(first, weights, range(5))
    torch.save(first.state_dict(), tmp_path / OPTIMIZER)
    resumed, parameters = build(name, dtype)
    for parameter, weight in zip(parameters, weights, strict=True):
        parameter.data.copy_(weight.data)
    load_optimizer(resumed, tmp_path)
    move(resumed, parameters, range(5, 8))
    for parameter, wanted in zip(parameters, expected, strict=True):
        assert torch.equal(parameter, wanted)
        _assert_same_state(resumed.state[parameter], whole.state[wanted])


def _assert_same_state(state: dict[str, Any], expected: dict[str, Any]) -> None:
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, Tensor):
            assert state[key].dtype == value.dtype
            assert torch.equal(state[key], value)
        else:
            assert state[key] == value


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_moves_and_the_loss_of_a_least_squares_problem_falls(name: str) -> None:
    optimizer, parameters = build(name)
    before = [parameter.detach().clone() for parameter in parameters]
    losses: list[float] = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = torch.stack([parameter.square().mean() for parameter in parameters]).sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.99 * losses[0]
    for parameter, start in zip(parameters, before, strict=True):
        assert float((parameter.detach() - start).norm()) > 1e-3


@pytest.mark.parametrize("name", PROJECTED)
def test_the_rate_of_a_step_is_the_groups_rate_once(name: str) -> None:
    """A tenth of the rate in the second step: a tenth of the way, from the same state."""
    ways: list[Tensor] = []
    for rate in (0.01, 0.001):
        weight = nn.Parameter(draw_gradients(SHAPE, 1, seed=1)[0])
        optimizer = OPTIMIZERS[name]([make_group(weight)], SETTINGS)
        first, second = draw_gradients(SHAPE, 2)
        run_steps(optimizer, weight, [first])
        before = weight.detach().clone()
        optimizer.param_groups[0]["lr"] = rate
        run_steps(optimizer, weight, [second])
        ways.append(weight.detach() - before)
    assert torch.allclose(ways[0], 10 * ways[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PROJECTED)
def test_weight_decay_acts_on_the_whole_weight_and_apart_from_the_moments(name: str) -> None:
    """Decay 0.5 at rate 0.1 takes a twentieth of the weight, and nothing else changes."""
    ends: list[Tensor] = []
    start = draw_gradients(SHAPE, 1, seed=1)[0]
    for decay in (0.0, 0.5):
        weight = nn.Parameter(start.clone())
        optimizer = OPTIMIZERS[name]([make_group(weight, lr=0.1, weight_decay=decay)], SETTINGS)
        run_steps(optimizer, weight, draw_gradients(SHAPE, 1))
        ends.append(weight.detach())
    assert torch.allclose(ends[0] - ends[1], 0.05 * start, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PROJECTED)
def test_accumulated_micro_batches_step_as_one_batch(name: str) -> None:
    ends: list[Tensor] = []
    gradients = draw_gradients(SHAPE, 3)
    for parts in ([gradients], [[sum(gradients[1:], gradients[0])]]):
        weight = nn.Parameter(draw_gradients(SHAPE, 1, seed=1)[0])
        optimizer = OPTIMIZERS[name]([make_group(weight)], SETTINGS)
        for gradient in parts[0]:
            (weight * gradient).sum().backward()
        optimizer.step()
        ends.append(weight.detach())
    assert torch.allclose(ends[0], ends[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PROJECTED)
def test_what_is_not_projected_moves_as_pytorchs_adamw_moves_it(name: str) -> None:
    ends: list[list[nn.Parameter]] = []
    for chosen in (name, "adamw_torch_fused"):
        optimizer, parameters = build(chosen)
        move(optimizer, parameters, range(5))
        ends.append(parameters)
    (weight, *others), (plain_weight, *plain_others) = ends
    assert not torch.allclose(weight, plain_weight, atol=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(others, plain_others, strict=True))


@pytest.mark.parametrize("targets", [frozenset[str](), frozenset({"w", "frozen"})])
def test_an_optimizer_that_would_project_less_than_asked_is_refused(
    targets: frozenset[str],
) -> None:
    group = make_group(nn.Parameter(torch.zeros(4, 4)))
    settings = OptimizerSettings(projection=project()._replace(targets=targets))
    with pytest.raises(ModelError, match="projected"):
        OPTIMIZERS["galore_adamw"]([group], settings)


@pytest.mark.parametrize("shape", [(256, 256), (704, 256), (256, 704)])
@pytest.mark.parametrize(("name", "most"), [("galore_adamw", 0.40), ("galore_adamw_8bit", 0.20)])
def test_galores_state_at_a_quarter_of_the_width_stays_below_its_share_of_adamws(
    name: str, most: float, shape: tuple[int, int]
) -> None:
    weight = nn.Parameter(torch.zeros(shape))
    settings = OptimizerSettings(projection=project(rank=64, basis="randomized"))
    optimizer = OPTIMIZERS[name]([make_group(weight)], settings)
    run_steps(optimizer, weight, draw_gradients(shape, 1, dtype=torch.float32))
    assert measure_state_bytes(optimizer) <= most * 8 * weight.numel()


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("apollo_adamw", 2 * 256 * 64 + 1), ("apollo_mini_adamw", 2 * 256 + 1)],
)
def test_apollo_stores_low_rank_moments_and_one_norm_but_no_projector(
    name: str, numbers: int
) -> None:
    weight = nn.Parameter(torch.zeros(256, 256))
    settings = OptimizerSettings(projection=project(rank=64, basis="random"))
    optimizer = OPTIMIZERS[name]([make_group(weight)], settings)
    run_steps(optimizer, weight, draw_gradients((256, 256), 1, dtype=torch.float32))
    assert measure_state_bytes(optimizer) == 4 * numbers


def test_8_bit_moments_follow_the_32_bit_ones_within_their_rounding() -> None:
    states: list[dict[str, Any]] = [{}, {}]
    for step, gradient in enumerate(draw_gradients(SHAPE, 20, dtype=torch.float32), start=1):
        precise = compute_direction(states[0], gradient, step, AdamSettings())
        quantised = compute_direction_8bit(states[1], gradient, step, AdamSettings())
    assert {"codes1", "codes2"} < states[1].keys()
    assert float((precise - quantised).norm() / precise.norm()) < 0.03


def test_the_first_8_bit_direction_is_the_exact_one() -> None:
    gradient = draw_gradients(SHAPE, 1, dtype=torch.float32)[0]
    precise = compute_direction({}, gradient, 1, AdamSettings())
    assert torch.allclose(compute_direction_8bit({}, gradient, 1, AdamSettings()), precise)


def test_8_bit_adamw_takes_loraplus_groups_and_keeps_embeddings_in_32_bits() -> None:
    parameters = {
        key: nn.Parameter(draw_gradients(SHAPE, 1, seed=1, dtype=torch.float32)[0])
        for key in ("a", "b", "embedding")
    }
    roles = {"a": "lora_A", "b": "lora_B", "embedding": "full"}
    groups = build_groups(parameters, roles, GroupSettings(0.001, 0.0, 16.0))
    settings = OptimizerSettings(embeddings=frozenset({"embedding"}))
    optimizer = OPTIMIZERS["adamw_bnb_8bit"](groups, settings)
    before = {key: parameter.detach().clone() for key, parameter in parameters.items()}
    move(optimizer, list(parameters.values()), range(1))
    ways = {key: float((p.detach() - before[key]).abs().mean()) for key, p in parameters.items()}
    assert ways["b"] == pytest.approx(16 * ways["a"], rel=1e-3)
    kinds = {key: optimizer.state[p]["state1"].dtype for key, p in parameters.items()}
    assert kinds == {"a": torch.uint8, "b": torch.uint8, "embedding": torch.float32}


def test_a_limited_norm_grows_by_a_hundredth_a_step() -> None:
    weight = nn.Parameter(draw_gradients(SHAPE, 1, seed=1)[0])
    settings = OptimizerSettings(projection=project(rank=8, basis="random"))
    optimizer = OPTIMIZERS["apollo_adamw"]([make_group(weight)], settings)
    gradient = draw_gradients(SHAPE, 1)[0]
    norms: list[float] = []
    # A gradient of zero before and in between must not stop the weight for good.
    for size in (0.0, 1.0, 100.0, 0.0, 1.0):
        run_steps(optimizer, weight, [size * gradient])
        norms.append(float(optimizer.state[weight]["norm"]))
    assert norms[0] == norms[3] == 0.0
    assert norms[2] <= 1.01 * norms[1] * (1 + 1e-6)
    assert norms[4] > 0.1 * norms[1] > 0.0
