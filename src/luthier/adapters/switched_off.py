"""The model as it was before its adapter."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from torch import nn

from luthier.adapters.attach_lora import find_layers


@contextlib.contextmanager
def switched_off(model: nn.Module) -> Generator[None]:
    """Within the block every LoRA layer of `model` answers as the layer it stands on."""
    layers = list(find_layers(model).values())
    for layer in layers:
        layer.forward = layer.base.forward  # hides the class's own until it is deleted
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
