"""Attention over padding-free rows: each example attends to itself alone.

Registered with transformers under the name `luthier_packed`. A family that goes through
`AttentionInterface` calls it with the row's queries, keys and values; the lengths of the examples
come as the keyword `segment_lengths`. The cost is Σ Tᵢ², not (Σ Tᵢ)².

Shapes: `H` query heads, `K` key heads, `T` tokens of the row, `E` width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

PACKED_ATTENTION = "luthier_packed"


def _attend(
    query_1HTE: Tensor,
    key_1KTE: Tensor,
    value_1KTE: Tensor,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    tokens = query_1HTE.shape[2]
    mask = None
    if window is not None and tokens > window:
        place = torch.arange(tokens, device=query_1HTE.device)
        distance = place[:, None] - place[None, :]
        mask = (distance >= 0) & (distance < window)
    return functional.scaled_dot_product_attention(
        query_1HTE,
        key_1KTE,
        value_1KTE,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query_1HTE.shape[1] != key_1KTE.shape[1],
    )


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
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each segment of one row; signature of AttentionInterface.

    Returns:
        (1, T, H, E) and None, as transformers expects.
    """
    lengths = segment_lengths or (query.shape[2],)
    if len(set(lengths)) == 1:
        # Equal lengths: one call over a batch of segments instead of one call a segment.
        count, length = len(lengths), lengths[0]
        q, k, v = (
            tensor.unflatten(2, (count, length)).squeeze(0).transpose(0, 1)
            for tensor in (query, key, value)
        )
        out_SHLE = _attend(q, k, v, dropout, scaling, sliding_window)
        return out_SHLE.transpose(1, 2).flatten(0, 1).unsqueeze(0), None
    outputs = [
        _attend(q, k, v, dropout, scaling, sliding_window).transpose(1, 2)
        for q, k, v in zip(
            query.split(lengths, dim=2),
            key.split(lengths, dim=2),
            value.split(lengths, dim=2),
            strict=True,
        )
    ]
    return torch.cat(outputs, dim=1), None


def _no_mask(*_: Any, **__: Any) -> None:
    """Segments carry the causality; a mask of (ΣT)² would be built for nothing."""


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, _no_mask)
