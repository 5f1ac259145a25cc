"""Full fine-tuning: every weight is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.adapters.attached import AttachedAdapter, Role
from luthier.adapters.tensor_files import explained_tensor_errors


def attach_full(model: Any, dtype: torch.dtype) -> AttachedAdapter:
    """Train all parameters of `model`; the result is saved as a model in `dtype`."""
    model.requires_grad_(True)
    parameters = dict(model.named_parameters())
    roles: dict[str, Role] = dict.fromkeys(parameters, "full")

    def save(folder: Path) -> None:
        state = cast_state(model.state_dict(), dtype)
        with explained_tensor_errors(folder):
            model.save_pretrained(folder, state_dict=state)

    return AttachedAdapter(parameters, roles, lambda: None, save, "model")


def cast_state(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Floating-point tensors in `dtype`; those that share memory (tied weights) still share it."""
    cast: dict[tuple[int, torch.Size], Tensor] = {}
    for tensor in state.values():
        if tensor.is_floating_point():
            cast.setdefault((tensor.data_ptr(), tensor.shape), tensor.to(dtype))
    return {name: cast.get((t.data_ptr(), t.shape), t) for name, t in state.items()}
