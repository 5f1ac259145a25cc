"""How many directions a run has moved its weights in: the rank of W − W₀, layer by layer.

A computed difference has full rank, if only from rounding. So a singular value counts as one of the
update's when it is larger than

    the layer's rounding + max(O, I) · ε · σ₁        ε = 1.2e-7, float32's own

where the rounding is the largest singular value of what merges have lost to the weight's precision
(bfloat16, 4 bits), measured as they happened. By Weyl's inequality no more values than the exact
update's rank lie above it: the figure is never too large, and on a coarse base it may be too small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor


class UpdateRank(NamedTuple):
    largest: int
    median: float
    smallest: int


@torch.no_grad()
def measure_update_rank(
    final: Mapping[str, Tensor],
    read_start: Callable[[str], Tensor],
    roundings: Mapping[str, float],
) -> UpdateRank:
    """The rank of each layer's update, over all layers.

    Args:
        final: weights after training, by name.
        read_start: name → the weight before training, of the same shape.
        roundings: by name; 0 where it is absent.
    """
    ranks = [
        count_rank(weight, read_start(name), roundings.get(name, 0.0))
        for name, weight in final.items()
    ]
    return UpdateRank(max(ranks), median(ranks), min(ranks))


def count_rank(final: Tensor, start: Tensor, rounding: float) -> int:
    """Singular values of `final - start` above the tolerance."""
    accurate = torch.promote_types(final.dtype, torch.float32)
    update = final.to(accurate) - start.to(final.device, accurate)
    values = torch.linalg.svdvals(update)
    tolerance = rounding + max(update.shape) * torch.finfo(torch.float32).eps * float(values[0])
    return int((values > tolerance).sum())
