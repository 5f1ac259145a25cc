"""Attention over padding-free rows: each example attends to itself alone.

Registered with transformers under the name `luthier_packed`. A family that goes through
`AttentionInterface` calls it with the row's queries, keys and values; the lengths of the examples
come as the keyword `segment_lengths`. The cost is Σ Tᵢ², not (Σ Tᵢ)².

With the keyword `branches` segments come in groups: a trunk and that many branches, each of which
attends to the trunk and to itself, but not to its siblings. Two answers to one prompt need the
prompt only once.

Shapes: `H` query heads, `K` key heads, `T` tokens of the row, `E` width of a head.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from luthier.models.even_rows import compiles_by_shape

PACKED_ATTENTION = "luthier_packed"


def _attend(
    query_1HQE: Tensor,
    key_1KTE: Tensor,
    value_1KTE: Tensor,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Causal attention of the last Q of T tokens."""
    queries, tokens = query_1HQE.shape[2], key_1KTE.shape[2]
    mask = None
    if queries < tokens or (window is not None and tokens > window):
        place = torch.arange(tokens, device=query_1HQE.device)
        distance_QT = place[tokens - queries :, None] - place[None, :]
        mask = distance_QT >= 0
        if window is not None:
            mask &= distance_QT < window
    if query_1HQE.is_cuda and (mask is not None or query_1HQE.dtype == torch.float32):
        # The one kernel that takes either and yet does not hold all scores knows no shared heads.
        key_1KTE, value_1KTE = (
            _repeat_heads(tensor, query_1HQE.shape[1]) for tensor in (key_1KTE, value_1KTE)
        )
    return functional.scaled_dot_product_attention(
        query_1HQE,
        key_1KTE,
        value_1KTE,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query_1HQE.shape[1] != key_1KTE.shape[1],
    )


def _repeat_heads(tensor_1KTE: Tensor, heads: int) -> Tensor:
    """(1, H, T, E): each key head once for every query head that shares it."""
    shared = heads // tensor_1KTE.shape[1]
    if shared == 1:
        return tensor_1KTE
    return tensor_1KTE.unsqueeze(2).expand(-1, -1, shared, -1, -1).flatten(1, 2)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    segment_lengths: tuple[int, ...] | None = None,
    branches: int = 0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each segment of one row; signature of AttentionInterface.

    Args:
        branches: 0 where segments stand alone, else how many of them follow each trunk.

    Returns:
        (1, T, H, E) and None, as transformers expects.
    """
    attend = partial(
        _attend_row,
        lengths=segment_lengths or (query.shape[2],),
        branches=branches,
        dropout=dropout,
        scaling=scaling,
        sliding_window=sliding_window,
    )
    if compiles_by_shape(query):
        # PyTorch's kernel for bfloat16 is the slower one on a processor, and its backward pass
        # keeps four MiB for every length that it has not met before.
        with torch.autocast("cpu", enabled=False):
            out = attend(query.float(), key.float(), value.float())
        return out.to(torch.bfloat16), None
    return attend(query, key, value), None


def _attend_row(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    lengths: tuple[int, ...],
    branches: int,
    dropout: float,
    scaling: float | None,
    sliding_window: int | None,
) -> Tensor:
    """(1, T, H, E): causal attention within each segment of one row."""
    if branches:
        groups = _list_branches(lengths, branches)
        return torch.cat(
            [
                _attend(
                    query[:, :, branch.queries],
                    _pick(key, branch),
                    _pick(value, branch),
                    dropout,
                    scaling,
                    sliding_window,
                ).transpose(1, 2)
                for branch in groups
            ],
            dim=1,
        )
    if len(set(lengths)) == 1:
        # Equal lengths: one call over a batch of segments instead of one call a segment.
        count, length = len(lengths), lengths[0]
        q, k, v = (
            tensor.unflatten(2, (count, length)).squeeze(0).transpose(0, 1)
            for tensor in (query, key, value)
        )
        out_SHLE = _attend(q, k, v, dropout, scaling, sliding_window)
        return out_SHLE.transpose(1, 2).flatten(0, 1).unsqueeze(0)
    outputs = [
        _attend(q, k, v, dropout, scaling, sliding_window).transpose(1, 2)
        for q, k, v in zip(
            query.split(lengths, dim=2),
            key.split(lengths, dim=2),
            value.split(lengths, dim=2),
            strict=True,
        )
    ]
    return torch.cat(outputs, dim=1)


class _Branch(NamedTuple):
    """Places of the row: who asks, and whom it sees (the trunk, where that is apart)."""

    queries: slice
    trunk: slice | None


def _list_branches(lengths: tuple[int, ...], branches: int) -> list[_Branch]:
    """The attention calls of groups of a trunk and its branches, in the order of the row.

    A trunk and its first branch are one causal stretch; the later branches see the trunk from afar.
    """
    calls: list[_Branch] = []
    start = 0
    for first in range(0, len(lengths), branches + 1):
        trunk, nearest, *others = lengths[first : first + branches + 1]
        end = start + trunk + nearest
        calls.append(_Branch(slice(start, end), None))
        for length in others:
            calls.append(_Branch(slice(end, end + length), slice(start, start + trunk)))
            end += length
        start = end
    return calls


def _pick(tensor_1KTE: Tensor, branch: _Branch) -> Tensor:
    own = tensor_1KTE[:, :, branch.queries]
    if branch.trunk is None:
        return own
    return torch.cat([tensor_1KTE[:, :, branch.trunk], own], dim=2)


def _no_mask(*_: Any, **__: Any) -> None:
    """Segments carry the causality; a mask of (ΣT)² would be built for nothing."""


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, _no_mask)
