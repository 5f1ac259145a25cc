"""Put LoRA layers on a model, take them off again, merge them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from luthier.adapters import peft_format
from luthier.adapters.attached import AttachedAdapter, Role
from luthier.adapters.lora import LoraLayer, LoraSettings
from luthier.adapters.targets import select_targets
from luthier.models.quantize import QuantizedLinear, dequantize_layer, dequantize_model


class LoraTargets(NamedTuple):
    names: Sequence[str] | None
    all_linear: bool


def attach_lora(
    model: Any,
    settings: LoraSettings,
    targets: LoraTargets,
    *,
    base_model: str,
    dtype: torch.dtype = torch.float32,
) -> AttachedAdapter:
    """Freeze `model` and put a LoRA layer on each target.

    On a head that is tied to the embedding the adapter stands on the head alone: the embedding
    keeps the weight that both share.

    Args:
        dtype: of the trained matrices; float32 also on a bfloat16 base, whose steps it would lose.
        base_model: the name to write into the adapter's configuration.
    """
    model.requires_grad_(False)
    layers: dict[str, LoraLayer] = {}
    for name, module in select_targets(model, targets.names, targets.all_linear).items():
        layers[name] = LoraLayer(module, settings, dtype)
        replace_module(model, name, layers[name])
    return describe_attached(model, layers, base_model)


def describe_attached(model: Any, layers: dict[str, LoraLayer], base_model: str) -> AttachedAdapter:
    """The loop's view of LoRA layers that stand on `model` already."""
    parameters: dict[str, nn.Parameter] = {}
    roles: dict[str, Role] = {}
    for name, layer in layers.items():
        for kind in ("lora_A", "lora_B", "magnitude"):
            parameter = getattr(layer, kind)
            if parameter is not None:
                parameters[f"{name}.{kind}"] = parameter
                roles[f"{name}.{kind}"] = kind

    def refresh() -> None:
        for layer in layers.values():
            layer.refresh_norm()

    return AttachedAdapter(
        parameters,
        roles,
        refresh,
        lambda folder: peft_format.save_adapter(model, layers, folder, base_model),
        "adapter",
    )


def find_layers(model: nn.Module) -> dict[str, LoraLayer]:
    """The LoRA layers that stand on `model`, by the name of the layer they replaced."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LoraLayer)}


@torch.no_grad()
def merge_lora(model: Any) -> None:
    """Add every update into its weight, in float32, then cast to the model's precision.

    The LoRA layers are gone after, and so is every packed weight: what is left is an ordinary
    model, its head untied from the embedding where the adapter stood on it.
    """
    layers = find_layers(model)
    dtype: torch.dtype = model.dtype
    if model.get_output_embeddings() in layers.values():
        untie_head(model)
    for name, layer in layers.items():
        merged: nn.Module = layer.base
        if isinstance(layer.base, QuantizedLinear):
            merged = dequantize_layer(layer.base, layer.compute_merged().to(dtype))
        else:
            layer.write_weight(layer.compute_merged())
        replace_module(model, name, merged)
    dequantize_model(model)


@torch.no_grad()
def untie_head(model: Any) -> None:
    """Give the output head a weight of its own where it shares the embedding's."""
    head: Any = model.get_output_embeddings()
    head = head.base if isinstance(head, LoraLayer) else head
    if head.weight is not model.get_input_embeddings().weight:
        return
    head.weight = nn.Parameter(head.weight.clone(), requires_grad=head.weight.requires_grad)
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where `name` stood."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
