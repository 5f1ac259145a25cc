"""What a restart leaves of an optimizer's moments (Lialin et al. 2023, ReLoRA, section 3).

The new A and B of a restart have nothing to do with the old moments, which would drive them back
into the old subspace; so most of these are set to zero, tensor by tensor, each moment by itself:

    magnitude   the share `ratio` of smallest magnitude goes, ties at the border with it
    random      the share `ratio` goes, chosen at random
    reset       everything goes, and Adam's count of steps: the optimizer begins anew

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
        for name in _find_moments(state, optimizer):
            gone = _choose(_read_moment(state, name), pruning, generator)
            state[name].masked_fill_(gone, _find_zero(state, name))
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


def _find_zero(state: dict[str, Any], name: str) -> int:
    """What stands for zero in the moment's own form; in 8 bit the other codes stay untouched."""
    if state[name].dtype != torch.uint8:
        return 0
    return int((state[f"qmap{name[-1]}"] == 0).nonzero()[0])
