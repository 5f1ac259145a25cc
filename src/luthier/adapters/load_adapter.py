"""Put an adapter from disk onto a base model, for evaluation, merging or further training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from luthier.adapters.attach_lora import describe_attached, replace_module
from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.lora import LoraLayer
from luthier.adapters.peft_format import read_settings, read_tensors
from luthier.adapters.targets import list_linear_layers
from luthier.errors import ModelError


@torch.no_grad()
def load_adapter(model: Any, folder: Path, *, base_model: str) -> AttachedAdapter:
    """Attach the adapter in `folder`, written by PEFT or by Luthier, to `model`.

    Raises:
        ModelError: the adapter was trained on another model.
    """
    settings = read_settings(folder)
    linear = list_linear_layers(model)
    model.requires_grad_(False)
    layers: dict[str, LoraLayer] = {}
    stored = read_tensors(folder)
    _fill_embeddings(model, stored.embeddings, folder)
    for name, tensors in stored.layers.items():
        base = linear.get(name)
        if base is None:
            raise ModelError(
                f"{folder}: the base model has no linear layer {name}. The adapter was trained on "
                "another model."
            )
        needed = {"lora_A", "lora_B", *(["magnitude"] if settings.magnitude else [])}
        if set(tensors) != needed:
            raise ModelError(
                f"{folder}: layer {name} holds {', '.join(sorted(tensors))}, but its configuration "
                f"asks for {', '.join(sorted(needed))}. The adapter's files do not fit together."
            )
        layers[name] = _fill(LoraLayer(base, settings, tensors["lora_A"].dtype), tensors, folder)
        replace_module(model, name, layers[name])
    if not layers:
        raise ModelError(f"{folder}: the adapter holds no layer.")
    return describe_attached(model, layers, base_model)


def _fill_embeddings(model: Any, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """The embedding and head that an adapter was trained beside, where its file holds them."""
    embeddings = (model.get_input_embeddings(), model.get_output_embeddings())
    own = {
        f"{name}.weight": module for name, module in model.named_modules() if module in embeddings
    }
    for name, tensor in tensors.items():
        module = own.get(name)
        if module is None:
            raise ModelError(f"{folder}: {name} is no tensor of a LoRA adapter on linear layers.")
        if module.weight.shape != tensor.shape:
            raise ModelError(
                f"{folder}: {name} has shape {tuple(tensor.shape)}, the base model's has "
                f"{tuple(module.weight.shape)}. The adapter was trained on another vocabulary."
            )
        module.weight.copy_(tensor)


def _fill(layer: LoraLayer, tensors: dict[str, torch.Tensor], folder: Path) -> LoraLayer:
    for kind, tensor in tensors.items():
        parameter: nn.Parameter = getattr(layer, kind)
        if parameter.shape != tensor.shape:
            raise ModelError(
                f"{folder}: {kind} has shape {tuple(tensor.shape)}, the base model needs "
                f"{tuple(parameter.shape)}. The adapter was trained on another model."
            )
        parameter.copy_(tensor)
    layer.refresh_norm()
    return layer
