"""Recipes and studies: read, validated, and every mistake named. Works without torch."""

from luthier.recipe.dataset import DatasetSource, InstructFormat, resolve_source
from luthier.recipe.schema import Recipe

__all__ = ["DatasetSource", "InstructFormat", "Recipe", "resolve_source"]
