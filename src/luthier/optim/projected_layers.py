"""Which weights GaLore, APOLLO and Fira project, and which are embeddings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from luthier.errors import ModelError


def select_projected(model: Any, targets: Sequence[str] | None, key: str) -> frozenset[str]:
    """Names of the projected weights: those of all linear layers but the output head, or chosen.

    Args:
        targets: each the name of a layer or of a part of the model that holds layers (`q_proj`,
            `self_attn`, `layers.3.mlp`), a regular expression for full names, or, where neither
            fits, a piece of a name, as transformers takes them. None: all.
        key: the recipe key that they stand under, for the error.

    Raises:
        ModelError: a target that matches nothing.
    """
    layers = _list_linear_weights(model)
    chosen = set(layers) if targets is None else set[str]()
    for target in targets or ():
        matched = _match(list(layers), target)
        if not matched:
            parts = sorted({part for name in layers for part in name.split(".")} - _numbers(layers))
            raise ModelError(
                f"{key}: {target!r} matches no linear layer of this model, the output head left "
                f"out. Its parts are {', '.join(parts)}."
            )
        chosen.update(matched)
    return frozenset(layers[name] for name in chosen)


def check_rank(model: Any, targets: AbstractSet[str], rank: int, key: str) -> tuple[str, ...]:
    """A note on the weights whose gradient is no larger than its projection; empty without any.

    Args:
        targets: names of the projected weights.
        key: the recipe key of `rank`.

    Raises:
        ModelError: all of them are such.
    """
    sides = {
        name: min(weight.shape) for name, weight in model.named_parameters() if name in targets
    }
    whole = sorted(name for name, side in sides.items() if side <= rank)
    if not whole:
        return ()
    if len(whole) == len(sides):
        largest = max(sides.values())
        raise ModelError(
            f"{key}: {rank} makes no gradient smaller: the shorter sides of the weights that it is "
            f"for have {largest} at most. Write {key}: {largest // 4 or 1}, or optimizer: "
            "adamw_torch."
        )
    return (
        f"{key}: {rank} makes {len(whole)} of {len(sides)} gradients no smaller, such as that of "
        f"{whole[0]}: its shorter side is {sides[whole[0]]}.",
    )


def list_embeddings(model: Any) -> frozenset[str]:
    """Names of the embeddings' weights; a head tied to one is that weight."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return frozenset(
        names[id(module.weight)]
        for module in model.modules()
        if isinstance(module, nn.Embedding) and id(module.weight) in names
    )


def _list_linear_weights(model: Any) -> dict[str, str]:
    """Full name of each linear layer → name of its weight; GPT-2's Conv1D is such a layer."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    head = model.get_output_embeddings()
    return {
        name: names[id(module.weight)]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and (head is None or module.weight is not head.weight)
    }


def _match(layers: list[str], target: str) -> list[str]:
    whole = [name for name in layers if f".{target}." in f".{name}."]
    if whole:
        return whole
    try:
        pattern = re.compile(target)
    except re.error:
        pattern = None
    by_pattern = [name for name in layers if pattern and pattern.fullmatch(name)]
    return by_pattern or [name for name in layers if target in name]


def _numbers(layers: dict[str, str]) -> set[str]:
    return {part for name in layers for part in name.split(".") if part.isdecimal()}
