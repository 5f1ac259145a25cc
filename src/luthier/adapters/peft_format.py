"""Adapters on disk, in PEFT's own format: what is written here loads there, and back.

PEFT names a tensor `base_model.model.<layer>.lora_A.weight`, and DoRA's magnitude
`base_model.model.<layer>.lora_magnitude_vector`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from luthier.adapters.lora import LoraLayer, LoraSettings
from luthier.adapters.targets import shortest_names
from luthier.adapters.tensor_files import explained_tensor_errors
from luthier.errors import ModelError
from luthier.files import read_json, write_json

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
ENDINGS = {
    "lora_A": "lora_A.weight",
    "lora_B": "lora_B.weight",
    "magnitude": "lora_magnitude_vector",
}

# What LoraLayer honours, and what says nothing about the answer of a finished adapter. All other
# settings of PEFT, today's and tomorrow's, are refused by name when they are set.
HONOURED = frozenset(
    {"peft_type", "r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora", "bias"}
)
WITHOUT_EFFECT = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
        "velora_config",
    }
)
# These begin from a changed base weight, which the adapter's folder does not hold.
CHANGING_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def save_adapter(
    model: Any, layers: Mapping[str, LoraLayer], folder: Path, base_model: str
) -> None:
    """Write adapter_config.json and adapter_model.safetensors into `folder`."""
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in layers.items():
        for kind, ending in ENDINGS.items():
            parameter = getattr(layer, kind)
            if parameter is not None:
                tensors[f"{PREFIX}{name}.{ending}"] = parameter.detach().cpu().contiguous()
    first = next(iter(layers.values()))
    settings = first.settings
    folder.mkdir(parents=True, exist_ok=True)
    with explained_tensor_errors(folder / WEIGHTS):
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    write_json(
        folder / CONFIG,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            "inference_mode": True,
            "r": settings.rank,
            "lora_alpha": settings.alpha,
            "lora_dropout": settings.dropout,
            "target_modules": shortest_names(model, list(layers)),
            "bias": "none",
            "use_dora": settings.magnitude,
            "use_rslora": settings.scaling == "alpha/sqrt(rank)",
            "fan_in_fan_out": first.transposed,
            "init_lora_weights": True,
        },
    )


def read_settings(folder: Path) -> LoraSettings:
    """The settings of an adapter that PEFT or Luthier wrote.

    Raises:
        ModelError: not a LoRA adapter, or one with a setting that this version cannot honour.
    """
    config = read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{folder}: a {config.get('peft_type')} adapter; only LORA is read.")
    foreign = sorted(
        key for key, value in config.items() if value and key not in HONOURED | WITHOUT_EFFECT
    )
    if config.get("bias", "none") != "none":
        foreign.append("bias")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(CHANGING_BASE):
        foreign.append(f"init_lora_weights: {start}")
    if foreign:
        raise ModelError(
            f"{folder}: uses {', '.join(foreign)}, which is not supported. Merge it with PEFT "
            "(merge_and_unload) and load the merged model."
        )
    return LoraSettings(
        rank=int(config["r"]),
        alpha=float(config["lora_alpha"]),
        dropout=float(config.get("lora_dropout", 0.0)),
        scaling="alpha/sqrt(rank)" if config.get("use_rslora") else "alpha/rank",
        magnitude=bool(config.get("use_dora")),
    )


class AdapterTensors(NamedTuple):
    """What an adapter's file holds.

    Attributes:
        layers: layer name → {"lora_A", "lora_B", and for DoRA "magnitude"}.
        embeddings: parameter name → tensor. PEFT adds the whole embedding and head of the base
            model when the adapter stands on one of them.
    """

    layers: dict[str, dict[str, torch.Tensor]]
    embeddings: dict[str, torch.Tensor]


def read_tensors(folder: Path) -> AdapterTensors:
    """The tensors of an adapter that PEFT or Luthier wrote, by their names in the base model."""
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the adapter in {folder}: {error}") from error
    found = AdapterTensors({}, {})
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        kind = next((kind for kind, end in ENDINGS.items() if name.endswith(f".{end}")), None)
        if name == key or "lora_embedding" in name:
            raise ModelError(f"{folder}: {key} is no tensor of a LoRA adapter on linear layers.")
        if kind is None:
            found.embeddings[name.replace(".base_layer.", ".")] = tensor
        else:
            layer = name.removesuffix(f".{ENDINGS[kind]}")
            found.layers.setdefault(layer, {})[kind] = tensor
    return found
