"""8-bit AdamW beside bitsandbytes' own on the device, the others beside the processor's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from bitsandbytes.optim import AdamW8bit
from gpu_cases import needs_gpu
from torch import Tensor, nn
from verification.gradients import PROJECTED, draw_gradients, make_group, project
from verification.projected import ADAM, DECAY, RATE

from luthier import device
from luthier.optim import projection
from luthier.optim.prune import Pruning, prune_moments
from luthier.optim.settings import OptimizerSettings
from luthier.optim.table import OPTIMIZERS

pytestmark = pytest.mark.gpu

LARGE, SMALL = (96, 80), (24, 10)  # bitsandbytes keeps fewer than 4096 numbers in 32 bits
STEPS = 5
# All of one period: between two, the sign of a singular vector is the device's own.
PROJECTION = project(64, 100, scale=0.25)


class Run:
    """One weight under one optimizer, moved by the same gradients wherever it lies."""

    def __init__(self, name: str, place: torch.device, shape: tuple[int, int] = LARGE) -> None:
        start = 0.01 * draw_gradients(shape, 1, seed=1, dtype=torch.float32)[0]
        self.weight = nn.Parameter(start.to(place, copy=True))
        group = make_group(self.weight, lr=RATE, weight_decay=DECAY)
        settings = OptimizerSettings(ADAM, PROJECTION if name in PROJECTED else None)
        self.optimizer = OPTIMIZERS[name]([group], settings)
        self.start = start

    def step(self, steps: range = range(STEPS)) -> Run:
        gradients = draw_gradients(tuple(self.weight.shape), STEPS, dtype=torch.float32)
        for number in steps:
            self.weight.grad = gradients[number].to(self.weight.device)
            self.optimizer.step()
        return self

    @property
    def movement(self) -> Tensor:
        return self.weight.detach().cpu() - self.start

    @property
    def moments(self) -> dict[str, Tensor]:
        """All of the state but the count of steps, which PyTorch's plain AdamW keeps elsewhere."""
        state: dict[str, Any] = self.optimizer.state[self.weight]
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        return {name: tensor for name, tensor in tensors.items() if tensor.ndim > 0}


def compare(found: Tensor, expected: Tensor) -> float:
    """The length of the difference as a share of the whole."""
    return float((found - expected).norm() / expected.norm())


def limit_of(name: str) -> float:
    """What two devices may differ by.

    A moment in the middle of two codes may go to either, and the first step of Adam is all signs:
    a projected gradient next to zero may have either.
    """
    if "8bit" in name:
        return 0.05
    return 0.02 if name in PROJECTED else 1e-4


@pytest.fixture
def _same_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    """APOLLO's Gaussian numbers are a function of the device too: here they are the processor's."""
    draw = projection.draw_projection

    def draw_on_processor(gradient_MN: Tensor, *given: Any, **named: Any) -> Any:
        drawn = draw(gradient_MN.cpu(), *given, **named)
        return type(drawn)(*(None if t is None else t.to(gradient_MN.device) for t in drawn))

    monkeypatch.setattr(projection, "draw_projection", draw_on_processor)


@pytest.mark.usefixtures("_same_basis")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_device_moves_a_weight_as_the_processor_does(name: str, place: torch.device) -> None:
    here, there = Run(name, torch.device("cpu")).step(), Run(name, place).step()
    assert {moment.device.type for moment in there.moments.values()} == {place.type}
    assert compare(there.movement, here.movement) < limit_of(name)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_steps_twice_leave_the_same_bytes(name: str, place: torch.device) -> None:
    device.prepare_process()
    first, second = Run(name, place).step(), Run(name, place).step()
    assert torch.equal(first.weight, second.weight)
    assert all(torch.equal(first.moments[key], second.moments[key]) for key in first.moments)


@pytest.mark.parametrize(("shape", "bits"), [(LARGE, 8), (SMALL, 32)])
def test_8_bit_adamw_steps_as_bitsandbytes_does(
    shape: tuple[int, int], bits: int, place: torch.device
) -> None:
    ours, theirs = Run("adamw_bnb_8bit", place, shape), Run("adamw_bnb_8bit", place, shape)
    theirs.optimizer = AdamW8bit(
        [theirs.weight], RATE, (ADAM.beta1, ADAM.beta2), ADAM.epsilon, weight_decay=DECAY
    )
    ours.step()
    theirs.step()
    assert torch.equal(ours.weight, theirs.weight)
    moments = [ours.moments["state1"], ours.moments["state2"]]
    expected = torch.uint8 if bits == 8 else torch.float32
    assert {(moment.dtype, moment.device) for moment in moments} == {(expected, place)}


def test_moments_of_an_embedding_stay_in_32_bits(place: torch.device) -> None:
    weight = nn.Parameter(torch.randn(LARGE, device=place))
    group = make_group(weight, "embed_tokens.weight")
    settings = OptimizerSettings(ADAM, embeddings=frozenset({"embed_tokens.weight"}))
    optimizer = OPTIMIZERS["adamw_bnb_8bit"]([group], settings)
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    assert optimizer.state[weight]["state1"].dtype == torch.float32


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_that_was_saved_goes_on_with_the_same_bytes(name: str, place: torch.device) -> None:
    device.prepare_process()
    whole, cut = Run(name, place).step(), Run(name, place).step(range(2))
    saved = copy.deepcopy(cut.optimizer.state_dict())
    saved["state"] = move(saved["state"], torch.device("cpu"))  # as a checkpoint is read
    resumed = Run(name, place)
    with torch.no_grad():
        resumed.weight.copy_(cut.weight)
    resumed.optimizer.load_state_dict(saved)
    resumed.step(range(2, STEPS))
    assert torch.equal(resumed.weight, whole.weight)
    assert {moment.device.type for moment in resumed.moments.values()} == {place.type}


@needs_gpu
@pytest.mark.usefixtures("_same_basis")
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("onto_gpu", [True, False])
def test_a_state_saved_on_one_device_goes_on_on_the_other(
    onto_gpu: bool, name: str, place: torch.device
) -> None:
    first, second = torch.device("cpu"), place
    if not onto_gpu:
        first, second = second, first
    whole, cut = Run(name, first).step(), Run(name, first).step(range(2))
    saved = copy.deepcopy(cut.optimizer.state_dict())
    saved["state"] = move(saved["state"], torch.device("cpu"))
    resumed = Run(name, second)
    with torch.no_grad():
        resumed.weight.copy_(cut.weight)
    resumed.optimizer.load_state_dict(saved)
    resumed.step(range(2, STEPS))
    assert compare(resumed.movement, whole.movement) < limit_of(name)


def move(value: Any, place: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(place)
    if isinstance(value, dict):
        return {key: move(item, place) for key, item in value.items()}
    return value


@pytest.mark.parametrize("name", ["adamw_torch_fused", "adamw_bnb_8bit"])
@pytest.mark.parametrize("method", ["magnitude", "random", "reset"])
def test_a_restart_prunes_the_same_moments_as_on_the_processor(
    method: Any, name: str, place: torch.device
) -> None:
    shares: list[float] = []
    kept: list[Tensor] = []
    for where in (torch.device("cpu"), place):
        run = Run(name, where).step(range(2))
        shares.append(prune_moments(run.optimizer, [run.weight], Pruning(method, 0.9), seed=3))
        first = run.moments.get("exp_avg", run.moments.get("state1"))
        assert first is not None
        kept.append(first.cpu())
    assert shares[1] == pytest.approx(shares[0], abs=0.02)
    assert float((kept[0] == kept[1]).double().mean()) > 0.95
