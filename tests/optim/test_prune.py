"""Pruning of optimizer state at a restart: how much goes, what stays, and in which form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from bitsandbytes.functional import dequantize_blockwise
from torch import nn

from luthier.errors import TrainingError
from luthier.optim.adamw_8bit import build_adamw_8bit
from luthier.optim.prune import Pruning, prune_moments
from luthier.optim.settings import AdamSettings, OptimizerSettings

MOMENTS = ("exp_avg", "exp_avg_sq")


def stepped(optimizer: Any, parameter: nn.Parameter, steps: int = 3) -> Any:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return optimizer


def adamw(shape: tuple[int, ...] = (20, 30)) -> tuple[nn.Parameter, torch.optim.AdamW]:
    parameter = nn.Parameter(torch.ones(shape))
    return parameter, stepped(torch.optim.AdamW([parameter], lr=0.1), parameter)


def adamw_8bit(size: int = 5000) -> tuple[nn.Parameter, Any]:
    parameter = nn.Parameter(torch.ones(size))
    groups = [{"params": [parameter], "names": ["w"], "lr": 0.1, "weight_decay": 0.0}]
    optimizer = build_adamw_8bit(groups, OptimizerSettings(AdamSettings(), None, frozenset()))
    return parameter, stepped(optimizer, parameter)


def share_of_zeros(tensor: torch.Tensor) -> float:
    return float((tensor == 0).double().mean())


def test_of_the_numbers_to_a_hundred_the_ten_largest_stay() -> None:
    parameter, optimizer = adamw((10, 10))
    numbers = torch.arange(1.0, 101.0).view(10, 10)
    state = optimizer.state[parameter]
    state["exp_avg"], state["exp_avg_sq"] = -numbers, numbers.clone()
    zeroed = prune_moments(optimizer, [parameter], Pruning("magnitude", 0.9), seed=0)
    assert zeroed == pytest.approx(0.9)
    assert torch.equal(state["exp_avg"], torch.where(numbers > 90, -numbers, 0.0))
    assert torch.equal(state["exp_avg_sq"], torch.where(numbers > 90, numbers, 0.0))


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.99, 0.999])
def test_magnitude_keeps_what_lies_above_the_quantile_of_each_moment(ratio: float) -> None:
    """As the paper's code does, apart from first moments over a second that went."""
    parameter, optimizer = adamw()
    before = {name: optimizer.state[parameter][name].clone() for name in MOMENTS}
    prune_moments(optimizer, [parameter], Pruning("magnitude", ratio), seed=0)
    kept = {
        name: moment.abs() > torch.quantile(moment.abs().flatten().double(), ratio)
        for name, moment in before.items()
    }
    kept["exp_avg"] &= kept["exp_avg_sq"]
    for name, moment in before.items():
        found = optimizer.state[parameter][name]
        assert torch.equal(found, torch.where(kept[name], moment, 0.0))


@pytest.mark.parametrize("method", ["magnitude", "random"])
def test_no_first_moment_is_left_over_a_second_of_zero(method: Any) -> None:
    parameter, optimizer = adamw()
    prune_moments(optimizer, [parameter], Pruning(method, 0.9), seed=0)
    state = optimizer.state[parameter]
    assert not state["exp_avg"][state["exp_avg_sq"] == 0].any()
    assert state["exp_avg"].any()
    # So a step without a gradient, as that of A when B is zero, stays of Adam's usual size.
    before = parameter.detach().clone()
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert float((parameter.detach() - before).abs().max()) < 10 * 0.1


def test_equal_magnitudes_at_the_border_go_together() -> None:
    parameter, optimizer = adamw((4,))
    optimizer.state[parameter]["exp_avg"] = torch.tensor([1.0, -1.0, 1.0, 2.0])
    optimizer.state[parameter]["exp_avg_sq"] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    prune_moments(optimizer, [parameter], Pruning("magnitude", 0.1), seed=0)
    assert optimizer.state[parameter]["exp_avg"].tolist() == [0.0, 0.0, 0.0, 2.0]


@pytest.mark.parametrize("method", ["magnitude", "random"])
@pytest.mark.parametrize("ratio", [0.1, 0.9, 0.99])
def test_the_asked_share_is_zero_afterwards(method: Any, ratio: float) -> None:
    parameter, optimizer = adamw()
    told = prune_moments(optimizer, [parameter], Pruning(method, ratio), seed=0)
    first, second = (share_of_zeros(optimizer.state[parameter][name]) for name in MOMENTS)
    # One value in 600 is the rounding of a share to whole values.
    assert second == pytest.approx(ratio, abs=1 / 600)
    assert ratio - 1 / 600 <= first < 1
    assert told == pytest.approx((first + second) / 2)
    if method == "random":
        assert first == second


def test_a_random_choice_is_the_seed_s() -> None:
    kept: list[torch.Tensor] = []
    for seed in (1, 1, 2):
        parameter, optimizer = adamw()
        prune_moments(optimizer, [parameter], Pruning("random", 0.5), seed)
        kept.append(optimizer.state[parameter]["exp_avg"])
    assert torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[0], kept[2])


def test_pruning_keeps_the_count_of_steps_and_a_reset_does_not() -> None:
    parameter, optimizer = adamw()
    prune_moments(optimizer, [parameter], Pruning("magnitude", 0.99), seed=0)
    assert float(optimizer.state[parameter]["step"]) == 3
    assert prune_moments(optimizer, [parameter], Pruning("reset"), seed=0) == 1.0
    assert float(optimizer.state[parameter]["step"]) == 0


def test_after_a_reset_the_optimizer_moves_as_a_new_one() -> None:
    parameter, optimizer = adamw()
    fresh = nn.Parameter(parameter.detach().clone())
    prune_moments(optimizer, [parameter], Pruning("reset"), seed=0)
    stepped(optimizer, parameter)
    stepped(torch.optim.AdamW([fresh], lr=0.1), fresh)
    assert torch.equal(parameter, fresh)


def test_other_parameters_keep_their_moments() -> None:
    first, second = nn.Parameter(torch.ones(8)), nn.Parameter(torch.ones(8))
    optimizer = torch.optim.AdamW([first, second])
    for parameter in (first, second):
        parameter.grad = torch.ones(8)
    optimizer.step()
    prune_moments(optimizer, [first], Pruning("reset"), seed=0)
    assert share_of_zeros(optimizer.state[first]["exp_avg"]) == 1.0
    assert share_of_zeros(optimizer.state[second]["exp_avg"]) == 0.0


def test_the_state_behind_accelerate_is_pruned_too() -> None:
    parameter, optimizer = adamw()
    wrapped = Accelerator(cpu=True).prepare_optimizer(optimizer)
    assert prune_moments(wrapped, [parameter], Pruning("magnitude", 0.9), seed=0) > 0.89
    assert share_of_zeros(optimizer.state[parameter]["exp_avg_sq"]) == pytest.approx(0.9)


@pytest.mark.parametrize("ratio", [0.5, 0.99])
@pytest.mark.parametrize("method", ["magnitude", "random"])
def test_8_bit_moments_lose_the_same_share_and_the_rest_stays_to_the_bit(
    method: Any, ratio: float
) -> None:
    parameter, optimizer = adamw_8bit()
    state = optimizer.state[parameter]
    assert state["state1"].dtype == torch.uint8

    def decoded(place: int) -> torch.Tensor:
        scales = state[f"absmax{place}"], state[f"qmap{place}"]
        return dequantize_blockwise(
            state[f"state{place}"], absmax=scales[0], code=scales[1], blocksize=256
        )

    before = [decoded(place).clone() for place in (1, 2)]
    prune_moments(optimizer, [parameter], Pruning(method, ratio), seed=0)
    for place, moment in zip((1, 2), before, strict=True):
        after = decoded(place)
        # Codes stand for few values: many are equal, and equal ones go together.
        assert share_of_zeros(after) >= ratio
        assert torch.equal(after[after != 0], moment[after != 0])
        if method == "magnitude" and place == 2:
            assert float(moment[after == 0].abs().max()) < float(after[after != 0].abs().min())


def test_after_a_reset_of_8_bit_moments_the_optimizer_moves_as_a_new_one() -> None:
    parameter, optimizer = adamw_8bit()
    start = parameter.detach().clone()
    prune_moments(optimizer, [parameter], Pruning("reset"), seed=0)
    stepped(optimizer, parameter)
    fresh, other = adamw_8bit()
    assert torch.allclose(parameter - start, fresh - torch.ones(5000), atol=1e-6)
    assert optimizer.state[parameter]["step"] == other.state[fresh]["step"] == 3


@pytest.mark.parametrize("steps", [0, 1])
def test_an_optimizer_without_such_moments_is_an_error_and_not_a_pruning_of_nothing(
    steps: int,
) -> None:
    parameter = nn.Parameter(torch.ones(8))
    kind = torch.optim.SGD if steps else torch.optim.AdamW
    optimizer = stepped(kind([parameter], lr=0.1), parameter, steps)
    with pytest.raises(TrainingError, match="finds no moments"):
        prune_moments(optimizer, [parameter], Pruning(), seed=0)
