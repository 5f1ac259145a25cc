"""Read a recipe file into a `Recipe`, and write one back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from luthier.errors import Problem, RecipeError
from luthier.recipe.check import check_recipe
from luthier.recipe.dialect import LEGACY
from luthier.recipe.layer import Layer
from luthier.recipe.overrides import apply_override, parse_overrides
from luthier.recipe.schema import Recipe
from luthier.recipe.translate import translate_recipe
from luthier.recipe.yaml_text import dump_yaml, read_layer


class LoadedRecipe(NamedTuple):
    """A valid recipe, and what was accepted with a remark."""

    recipe: Recipe
    notes: tuple[str, ...]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read and check a recipe file.

    Args:
        path: a YAML file in the recipe dialect.
        overrides: `key=value` texts, applied before checking; dots reach into lists and mappings.

    Raises:
        RecipeError: with every mistake of the file and of the overrides.
    """
    layer, problems = read_layer(path)
    return recipe_of_layer(layer, overrides, str(path), problems)


def parse_recipe(
    values: Mapping[str, Any], overrides: Sequence[str] = (), source: str = "recipe"
) -> LoadedRecipe:
    """Check a recipe given as a mapping; `source` names it in the error. Raises RecipeError."""
    return recipe_of_layer(Layer(dict(values)), overrides, source)


def recipe_of_layer(
    layer: Layer, overrides: Sequence[str], source: str, problems: Sequence[Problem] = ()
) -> LoadedRecipe:
    """Override, translate and check what was read; `problems` are those found in reading."""
    layer = layer.copy()
    parsed, override_problems = parse_overrides(overrides)
    found = [*problems, *override_problems]
    for override in parsed:
        problem = apply_override(layer, override, LEGACY)
        found += [problem] if problem else []
    translated = translate_recipe(layer)
    checked = check_recipe(translated.layer, translated.answered)
    found += [*translated.problems, *checked.problems]
    if found or checked.recipe is None:
        raise RecipeError(source, sorted_by_line(found))
    notes = (*translated.notes, *checked.notes)
    return LoadedRecipe(checked.recipe, notes)


def sorted_by_line(problems: Sequence[Problem]) -> list[Problem]:
    """In the order of the file; those without a line last."""
    return sorted(problems, key=lambda problem: (problem.line is None, problem.line or 0))


def normalised(recipe: Recipe) -> dict[str, Any]:
    """What differs from the defaults and what is required, in the order of the schema."""
    values = recipe.model_dump(mode="json", exclude_defaults=True)
    for follower, leader in (
        ("eval_batch_size", "micro_batch_size"),
        ("eval_sample_packing", "sample_packing"),
    ):
        if getattr(recipe, follower) == getattr(recipe, leader):
            values.pop(follower, None)
    return values


def dump_recipe(recipe: Recipe) -> str:
    """The normalised recipe as YAML; loading it gives an equal recipe."""
    return dump_yaml(normalised(recipe))
