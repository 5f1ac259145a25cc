"""A recipe with other values for some keys, checked by the same rules as one from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.recipe.check import check_recipe
from luthier.recipe.keys.adapter import QuantisationKeys, ReloraKeys
from luthier.recipe.keys.projection import ApolloKeys, FiraKeys, GaloreKeys
from luthier.recipe.layer import Layer
from luthier.recipe.load import normalised
from luthier.recipe.resolve import projection_family
from luthier.recipe.rules.adapter import ADAPTER_KEYS
from luthier.recipe.schema import Recipe

_PROJECTION_KEYS = (*GaloreKeys.model_fields, *ApolloKeys.model_fields, *FiraKeys.model_fields)
_4BIT_KEYS = tuple(key for key in QuantisationKeys.model_fields if key.startswith("bnb_4bit_"))
# The rows of a study's arm have no path of their own; any will do to check the rest.
_STUDY_ROWS: Mapping[str, Any] = {"path": "rows"}


def change_recipe(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe | None:
    """The recipe with `changes` laid over it; None where the rules refuse the result.

    Keys that lose their meaning by a change are left out, as they are for an arm of a study: an
    adapter's without an adapter, a projection's without its optimizer. `None` unsets a key.
    """
    values = {**normalised(recipe), **changes}
    values = {key: value for key, value in values.items() if value is not None}
    for key in _meaningless(values):
        values.pop(key, None)
    checked = check_recipe(Layer(values), study_data=_STUDY_ROWS)
    return checked.recipe


def spread_batch(recipe: Recipe, devices: int, count: int) -> Recipe:
    """The recipe for `count` devices with the optimizer step that it has on `devices`.

    Where the accumulation cannot be divided that far the step grows, and a run that is limited
    by steps takes fewer of them, so that the tokens stay.
    """
    micro_batches = recipe.gradient_accumulation_steps * devices
    accumulation = max(1, round(micro_batches / count))
    changes: dict[str, int] = {"gradient_accumulation_steps": accumulation}
    if recipe.max_steps is not None:
        steps = recipe.max_steps * micro_batches / (accumulation * count)
        changes["max_steps"] = max(1, round(steps))
    return change_recipe(recipe, changes) or recipe


def _meaningless(values: Mapping[str, Any]) -> tuple[str, ...]:
    keys: list[str] = []
    if values.get("adapter") is None:
        keys += ADAPTER_KEYS
    if not values.get("load_in_4bit"):
        keys += _4BIT_KEYS
    if not values.get("relora"):
        keys += ReloraKeys.model_fields
    family = projection_family(str(values.get("optimizer", "")))
    keys += [key for key in _PROJECTION_KEYS if family is None or not key.startswith(family)]
    return tuple(keys)
