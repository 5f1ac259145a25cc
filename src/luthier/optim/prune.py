"""What a restart leaves of an optimizer's moments (Lialin et al. 2023, ReLoRA, section 3).

The new A and B of a restart have nothing to do with the old moments, which would drive them back
into the old subspace; so most of these are set to zero, tensor by tensor:

    magnitude   of each moment the share `ratio` of smallest magnitude goes, ties at the border too
    random      the share `ratio` of places goes, chosen at random, in both moments
    reset       everything goes, and Adam's count of steps: the optimizer begins anew

Where the second moment goes the first goes with it. The paper's code chooses for each moment by
itself, and so leaves first moments over a second of zero. B = 0 gives A no gradient at first: such
a place would move by m/ε, some thousand times the learning rate (seen: a loss of 5 became 200).

`magnitude` and `random` leave the count as it was. So does the paper's code, in which a reset too
is a random pruning by 99.9% that keeps the count. With the count kept there is no bias correction
after a restart, and first steps reach (1 − β₁)/√(1 − β₂) ≈ 3 times the learning rate: a reason to
warm up again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from luthier.errors import TrainingError

Method = Literal["magnitude", "random", "reset"]

# The moments under PyTorch's names and under bitsandbytes'.
MOMENTS = (("exp_avg", "exp_avg_sq"), ("state1", "state2"))
BLOCK = 256  # values that share a scale in bitsandbytes' 8-bit moments


class Pruning(NamedTuple):
    method: Method = "magnitude"
    ratio: float = 0.99


@torch.no_grad()
def prune_moments(
    optimizer: Any, parameters: Iterable[nn.Parameter], pruning: Pruning, seed: int
) -> float:
    """Set moments of `parameters` to zero, in place; returns the share that is zero afterwards.

    Args:
        optimizer: AdamW of PyTorch or of bitsandbytes (8 bit), that has made a step.
        seed: of the random choice.

    Raises:
        TrainingError: a parameter without such moments; nothing would be pruned, unseen.
    """
    generator = torch.Generator().manual_seed(seed)
    zeros = total = 0
    for parameter in parameters:
        state: dict[str, Any] = optimizer.state.get(parameter, {})
        first, second = _find_moments(state, optimizer)
        gone = _choose(_read_moment(state, second), pruning, generator)
        _set_to_zero(state, second, gone)
        if pruning.method == "magnitude":
            gone = _choose(_read_moment(state, first), pruning, generator)
        _set_to_zero(state, first, gone | (_read_moment(state, second) == 0))
        for name in (first, second):
            zeros += int((_read_moment(state, name) == 0).sum())
            total += state[name].numel()
        if pruning.method == "reset":
            state["step"] = state["step"] * 0
    return zeros / max(1, total)


def _find_moments(state: dict[str, Any], optimizer: Any) -> tuple[str, str]:
    for names in MOMENTS:
        if all(name in state for name in names):
            return names
    raise TrainingError(
        f"a restart finds no moments of Adam in {type(optimizer).__name__}. With relora use "
        "optimizer: adamw_torch, adamw_torch_fused or adamw_bnb_8bit."
    )


def _choose(moment: Tensor, pruning: Pruning, generator: torch.Generator) -> Tensor:
    """True where the moment goes: exactly the share that the paper's quantile cuts off."""
    if pruning.method == "reset":
        return torch.ones_like(moment, dtype=torch.bool)
    if pruning.method == "random":
        rank = torch.rand(moment.shape, generator=generator).to(moment.device)
    else:
        rank = moment.abs()
    # As many values as lie at or below the quantile, which itself takes only 2²⁴ values.
    count = math.floor(pruning.ratio * (rank.numel() - 1)) + 1
    return rank <= rank.flatten().sort().values[count - 1]


def _read_moment(state: dict[str, Any], name: str) -> Tensor:
    """The moment's values; those in 8 bit are decoded."""
    codes: Tensor = state[name]
    if codes.dtype != torch.uint8:
        return codes
    place = name[-1]
    values = state[f"qmap{place}"][codes.flatten().long()]
    scales = state[f"absmax{place}"].repeat_interleave(BLOCK)[: values.numel()]
    return (values * scales).view(codes.shape)


def _set_to_zero(state: dict[str, Any], name: str, gone: Tensor) -> None:
    """In the moment's own form: of 8 bit all other codes stay as they are."""
    zero = 0
    if state[name].dtype == torch.uint8:
        zero = int((state[f"qmap{name[-1]}"] == 0).nonzero()[0])
    state[name].masked_fill_(gone, zero)
