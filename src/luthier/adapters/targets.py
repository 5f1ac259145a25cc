"""Which layers of a model get an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from luthier.errors import ModelError
from luthier.models.quantize import QuantizedLinear

LINEAR = (nn.Linear, Conv1D, QuantizedLinear)


def list_linear_layers(model: Any) -> dict[str, nn.Module]:
    """Every linear layer by its full name, the output head too."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LINEAR)}


def select_targets(
    model: Any, names: Sequence[str] | None, all_linear: bool
) -> dict[str, nn.Module]:
    """The layers whose name is, or ends with, one of `names`; with `all_linear` all but the head.

    Raises:
        ModelError: a name that matches nothing (a typo would otherwise train less than asked).
    """
    linear = list_linear_layers(model)
    head = model.get_output_embeddings()
    chosen = {name for name, module in linear.items() if all_linear and module is not head}
    for wanted in names or ():
        matched = {name for name in linear if name == wanted or name.endswith(f".{wanted}")}
        if not matched:
            endings = sorted({name.rpartition(".")[2] for name in linear})
            raise ModelError(
                f"lora_target_modules: {wanted!r} matches no linear layer of this model. "
                f"It has {', '.join(endings)}."
            )
        chosen |= matched
    return {name: module for name, module in linear.items() if name in chosen}


def shortest_names(model: Any, chosen: Sequence[str]) -> list[str]:
    """The last parts of the chosen names where these select just the same layers, else full names.

    PEFT reads `target_modules` in the same way, and people read short names.
    """
    endings = sorted({name.rpartition(".")[2] for name in chosen})
    selected = {name for name in list_named_linears(model) if name.rpartition(".")[2] in endings}
    return endings if selected == set(chosen) else sorted(chosen)


def list_named_linears(model: Any) -> list[str]:
    """Names of all linear layers, those that carry an adapter by the name they had before."""
    return [
        name.removesuffix(".base")
        for name, module in model.named_modules()
        if isinstance(module, LINEAR)
    ]
