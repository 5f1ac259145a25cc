"""Recipes and studies: read, validated, and every mistake named. Works without torch."""

from luthier.recipe.dataset import DatasetSource, InstructFormat, resolve_source
from luthier.recipe.load import LoadedRecipe, dump_recipe, load_recipe, parse_recipe
from luthier.recipe.schema import Recipe

__all__ = [
    "DatasetSource",
    "InstructFormat",
    "LoadedRecipe",
    "Recipe",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "resolve_source",
]
