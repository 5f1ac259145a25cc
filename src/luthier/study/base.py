"""The untouched base model of a study, which is scored once beside the arms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from luthier.recipe.dataset import resolve_source
from luthier.recipe.study import LoadedStudy
from luthier.train.prepare import choose_chat_template


class ScoredBase(NamedTuple):
    """A base model and how the arms speak to it: an untrained model must be asked alike."""

    name: str
    chat_template: str
    special_tokens: Mapping[str, str] | None


def choose_base(loaded: LoadedStudy) -> ScoredBase:
    """The model that `base` names, or where only the arms name one, that of the first."""
    recipes = [arm.recipe for arm in loaded.arms]
    named = loaded.study.base.get("base_model")
    recipe = next((recipe for recipe in recipes if recipe.base_model == named), recipes[0])
    datasets = tuple(resolve_source(source, loaded.study.data) for source in recipe.datasets)
    template = choose_chat_template(recipe.model_copy(update={"datasets": datasets}))
    return ScoredBase(recipe.base_model, template, recipe.special_tokens)
