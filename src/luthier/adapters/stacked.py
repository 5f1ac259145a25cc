"""A base model that may be an earlier run's result: its adapter is added into its own base."""

from __future__ import annotations

from typing import Any

import torch

from luthier.adapters.attach_lora import merge_lora
from luthier.adapters.load_adapter import load_adapter
from luthier.models.load import (
    grow_embeddings,
    load_base_model,
    load_tokenizer,
    read_saved_dtype,
)
from luthier.models.places import find_model, is_result
from luthier.models.quantize import Quantization, quantize_model


def load_stacked_model(
    name: str,
    *,
    dtype: torch.dtype,
    attention: str | None = None,
    quantization: Quantization | None = None,
    place: torch.device | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """`load_base_model` for any name: a model, or the folder of a run or an adapter.

    An adapter is added in float32 into the base that it was trained on (unpacked, where that was
    quantised), the sum cast to `dtype` and then packed as `quantization` says.

    Args:
        place: the device that a quantised base is packed on; the CPU when absent.

    Raises:
        ModelError: no such model, a run without a result, an adapter that does not fit its base.
    """
    found = find_model(name) if is_result(name) else None
    if found is None or found.adapter is None:
        return load_base_model(
            name if found is None else found.base,
            dtype=dtype,
            attention=attention,
            quantization=quantization,
            place=place,
            trust_remote_code=trust_remote_code,
        )
    causal = load_stacked_model(
        found.base,
        dtype=torch.promote_types(dtype, read_saved_dtype(found.base)),
        attention=attention,
        quantization=found.quantization,
        place=place,
        trust_remote_code=trust_remote_code,
    )
    tokenizer = load_tokenizer(name, trust_remote_code=trust_remote_code).tokenizer
    grow_embeddings(causal, len(tokenizer))
    load_adapter(causal, found.adapter, base_model=found.base)
    merge_lora(causal)
    causal.to(dtype)
    if quantization is not None:
        quantize_model(causal.to(place), quantization)
    return causal
