"""Recipes and studies: read, validated, and every mistake named. Works without torch."""

from luthier.recipe.dataset import DatasetSource, InstructFormat, resolve_source
from luthier.recipe.load import LoadedRecipe, dump_recipe, load_recipe, parse_recipe
from luthier.recipe.load_study import load_any, load_study
from luthier.recipe.schema import Recipe
from luthier.recipe.study import (
    Arm,
    LoadedStudy,
    Sample,
    Study,
    TaskSpec,
    differing_settings,
    dump_study,
)

__all__ = [
    "Arm",
    "DatasetSource",
    "InstructFormat",
    "LoadedRecipe",
    "LoadedStudy",
    "Recipe",
    "Sample",
    "Study",
    "TaskSpec",
    "differing_settings",
    "dump_recipe",
    "dump_study",
    "load_any",
    "load_recipe",
    "load_study",
    "parse_recipe",
    "resolve_source",
]
