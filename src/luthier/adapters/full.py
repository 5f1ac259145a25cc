"""Full fine-tuning: every weight is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from luthier.adapters.attached import AttachedAdapter, Role
from luthier.adapters.tensor_files import explained_tensor_errors


def attach_full(model: Any, dtype: torch.dtype) -> AttachedAdapter:
    """Train all parameters of `model`; the result is saved as a model in `dtype`."""
    model.requires_grad_(True)
    parameters = dict(model.named_parameters())
    roles: dict[str, Role] = dict.fromkeys(parameters, "full")

    def save(folder: Path) -> None:
        state = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
        with explained_tensor_errors(folder):
            model.save_pretrained(folder, state_dict=state)

    return AttachedAdapter(parameters, roles, lambda: None, save, "model")
