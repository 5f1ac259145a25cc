"""How many directions a run has moved its weights in: the rank of W − W₀, layer by layer.

A computed difference has full rank, if only from rounding. So a singular value counts as one of the
update's when it is larger than

    the layer's rounding + max(O, I) · ε · σ₁        ε = 1.2e-7, float32's own

where the rounding is the largest singular value of what merges have lost to the precision that the
sums are kept in (float32), measured as they happened. By Weyl's inequality no more values than the
exact update's rank lie above it: the figure is never too large, and in a coarse precision it may be
too small. On a quantised or bfloat16 base W is the float32 weight before it is rounded.

DoRA scales whole rows, so its update may have full rank.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.relora import read_weight
from luthier.device import exact_products

EXACT_WIDTH = 1024  # up to here all singular values are worked out
FIRST_SKETCH = 256


class UpdateRank(NamedTuple):
    largest: int
    median: float
    smallest: int


def measure_update_rank(
    adapter: AttachedAdapter, load_start: Callable[[], Any]
) -> UpdateRank | None:
    """The ranks of a finished run's update over the layers that restarts changed.

    Args:
        adapter: after its result was saved, so with the last update merged.
        load_start: loads the model that the run began with, not quantised.

    Returns:
        None for a run without restarts: its base has not moved.
    """
    if adapter.base is None:
        return None
    start = load_start()
    ranks = [
        count_rank(adapter.base.weight(name), read_weight(start, name), rounding)
        for name, rounding in adapter.base.roundings().items()
    ]
    return UpdateRank(max(ranks), median(ranks), min(ranks))


@torch.no_grad()
@exact_products()
def count_rank(final: Tensor, start: Tensor, rounding: float) -> int:
    """Singular values of `final - start` above the tolerance; a lower bound for wide matrices."""
    accurate = torch.promote_types(final.dtype, torch.float32)
    update = final.to(accurate) - start.to(final.device, accurate)
    width = min(update.shape)
    sketch = width if width <= EXACT_WIDTH else FIRST_SKETCH
    while True:
        values = _largest_singular_values(update, sketch)
        tolerance = rounding + max(update.shape) * torch.finfo(torch.float32).eps * values[0]
        rank = int((values > tolerance).sum())
        if sketch == width or rank < 0.75 * sketch:
            return rank
        sketch = width if 4 * sketch > width else 2 * sketch


def _largest_singular_values(matrix: Tensor, count: int) -> Tensor:
    """All of them, or about the largest `count`: those of the matrix's part in a random subspace.

    The subspace has gone through the matrix and back (Halko, Martinsson & Tropp 2011, algorithm
    4.4), and a part's singular values are never larger than the whole's.
    """
    if count == min(matrix.shape):
        return torch.linalg.svdvals(matrix)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], count, generator=generator).to(matrix)
    basis = torch.linalg.qr(matrix @ start).Q
    basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis).Q).Q
    return torch.linalg.svdvals(basis.T @ matrix)
