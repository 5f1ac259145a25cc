"""Which linear layers a recipe's adapter stands on, and how many weights are trained."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import NamedTuple

from luthier.errors import PlanError
from luthier.plan.model.model_facts import Linear, ModelFacts
from luthier.recipe.schema import Recipe

# Name of the output head where it is not `lm_head`.
HEAD_NAMES: Mapping[str, str] = {"gpt_neox": "embed_out"}
_LAYER_NUMBER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


class AdaptedLinear(NamedTuple):
    """A linear layer with an adapter, and in how many transformer layers it has one."""

    linear: Linear
    layers: int

    def count_weights(self, rank: int, magnitude: bool) -> int:
        """A (rank · inputs), B (outputs · rank) and DoRA's magnitude (outputs), all copies."""
        one = rank * (self.linear.inputs + self.linear.outputs)
        one += self.linear.outputs if magnitude else 0
        return one * self.linear.copies * self.layers


def head_of(facts: ModelFacts) -> Linear:
    """The output head as a linear layer."""
    return Linear(HEAD_NAMES.get(facts.family, "lm_head"), facts.width, facts.vocabulary)


def list_adapted(recipe: Recipe, facts: ModelFacts) -> tuple[AdaptedLinear, ...]:
    """The layers that carry the recipe's adapter; empty without one.

    Raises:
        PlanError: a name in `lora_target_modules` that this model has no linear layer for.
    """
    if recipe.adapter is None:
        return ()
    modules = [linear for linear in facts.linears if linear.is_module]
    layers = {linear.name: 0 for linear in modules}
    if recipe.lora_target_linear:
        layers = dict.fromkeys(layers, facts.layers)
    head = head_of(facts)
    on_head = False
    for wanted in recipe.lora_target_modules or ():
        name = wanted.rpartition(".")[2]
        if name == head.name:
            on_head = True
        elif name in layers:
            # A full name means one layer, the end of a name all of them.
            one = _LAYER_NUMBER.search(wanted) is not None
            layers[name] = min(facts.layers, layers[name] + 1) if one else facts.layers
        else:
            raise _no_such_layer(wanted, facts, [*layers, head.name])
    chosen = [AdaptedLinear(item, layers[item.name]) for item in modules if layers[item.name]]
    return (*chosen, AdaptedLinear(head, 1)) if on_head else tuple(chosen)


def count_trainable(recipe: Recipe, facts: ModelFacts) -> int:
    """Weights that the recipe trains: the adapter's, or without one the whole model's.

    Raises:
        PlanError: a name in `lora_target_modules` that this model has no linear layer for.
    """
    if recipe.adapter is None:
        return facts.parameters
    assert recipe.lora_r is not None  # The rules hold a recipe to it.
    adapted = list_adapted(recipe, facts)
    return sum(item.count_weights(recipe.lora_r, recipe.peft_use_dora) for item in adapted)


def _no_such_layer(wanted: str, facts: ModelFacts, names: list[str]) -> PlanError:
    near = difflib.get_close_matches(wanted.rpartition(".")[2], names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return PlanError(
        f"lora_target_modules: {wanted!r} matches no linear layer of {facts.name}.{hint} "
        f"It has {', '.join(names)}."
    )
