"""Full fine-tuning: every weight is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.adapters.attached import AttachedAdapter, Role
from luthier.adapters.tensor_files import explained_tensor_errors


def attach_full(model: Any) -> AttachedAdapter:
    """Train all parameters of `model`; the result is saved in the precision that they have.

    That is float32 also where the products are bfloat16: the base's weights lie on bfloat16's grid,
    so that rounding the result would take small updates back, and the model on disk would be
    another than the one whose validation loss was measured.
    """
    model.requires_grad_(True)
    parameters = dict(model.named_parameters())
    roles: dict[str, Role] = dict.fromkeys(parameters, "full")

    def save(folder: Path) -> None:
        with explained_tensor_errors(folder):
            model.save_pretrained(folder)

    return AttachedAdapter(parameters, roles, lambda: None, save, "model")
