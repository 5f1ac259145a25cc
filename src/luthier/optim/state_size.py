"""How much memory an optimizer's state takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor


def measure_state_bytes(
    optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor] | None = None
) -> int:
    """Bytes of memory behind all tensors of the state: moments, projectors and what quantises them.

    Counts whole storages, each once: a slice that keeps a larger tensor alive costs all of it.

    Args:
        parameters: count these parameters' state only.
    """
    chosen = optimizer.state if parameters is None else parameters
    storages = {
        storage.data_ptr(): storage.nbytes()
        for parameter in chosen
        for value in cast("dict[str, object]", optimizer.state.get(parameter, {})).values()
        if isinstance(value, Tensor)
        for storage in [value.untyped_storage()]
    }
    return sum(storages.values())
