"""Even numbers of rows, where every new number of rows costs memory that never comes back.

On a processor oneDNN compiles each bfloat16 product for its exact shape and keeps what it compiled:
half a MiB for each product of a layer (docs/log.md). Micro-batches differ by a few tokens, so a run
would grow by five MiB a step. Rows are therefore filled up to a multiple of `EVEN_ROWS`: in the
packed row with a segment of its own that nobody attends to and that has no label, in a product with
zeros. float32 products and GPUs need none of it.

Shapes: `T` tokens of the row, `N` supervised positions, `C` rows of a product.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from luthier.data.batches import PackedBatch
from luthier.models.quantize import choose_compute_dtype

EVEN_ROWS = 64


def compiles_by_shape(like: Tensor) -> bool:
    """Whether a product with a tensor like this is compiled for its shape alone."""
    return like.device.type == "cpu" and choose_compute_dtype(like) == torch.bfloat16


def fill_row(row: PackedBatch, branches: int = 0) -> PackedBatch:
    """The row with one segment more, and its last label position repeated, to even numbers.

    Args:
        branches: how many branches follow each trunk; the filling is a trunk with branches too.
    """
    missing = _count_missing(row.input_ids.shape[1], at_least=1 + branches)
    filling = torch.arange(missing, device=row.input_ids.device)
    lengths = (missing - branches, *[1] * branches)
    labels_N = row.label_positions
    repeated = labels_N[-1:].expand(_count_missing(len(labels_N)) if len(labels_N) else 0)
    return row._replace(
        input_ids=functional.pad(row.input_ids, (0, missing)),
        position_ids=torch.cat([row.position_ids, filling[None]], dim=1),
        label_positions=torch.cat([labels_N, repeated]),
        lengths=(*row.lengths, *lengths) if missing else row.lengths,
    )


def even_linear(x_CI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, (C, O)."""
    return functional.linear(_fill(x_CI), weight_OI, bias_O)[: x_CI.shape[0]]


def even_product(a_CK: Tensor, b_KI: Tensor) -> Tensor:
    """a b, (C, I)."""
    return (_fill(a_CK) @ b_KI)[: a_CK.shape[0]]


def even_outer(a_CO: Tensor, b_CI: Tensor) -> Tensor:
    """aᵀ b, (O, I): rows of zeros add nothing."""
    return _fill(a_CO).T @ _fill(b_CI)


def _fill(x_CI: Tensor) -> Tensor:
    if x_CI.device.type != "cpu" or x_CI.dtype != torch.bfloat16:
        return x_CI
    missing = _count_missing(x_CI.shape[0])
    return functional.pad(x_CI, (0, 0, 0, missing)) if missing else x_CI


def _count_missing(rows: int, at_least: int = 0) -> int:
    """Rows up to the next even number; none, or `at_least` where any are missing."""
    missing = -rows % EVEN_ROWS
    while 0 < missing < at_least:
        missing += EVEN_ROWS
    return missing
