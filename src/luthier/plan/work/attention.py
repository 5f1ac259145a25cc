"""Whether a run forms its attention scores, each query's with each key."""

from __future__ import annotations

from luthier.plan.model.model_facts import ModelFacts
from luthier.recipe.schema import Recipe


def forms_scores(recipe: Recipe, facts: ModelFacts) -> bool:
    """Only the `eager` implementation does, which Gemma 2 takes for its capped scores."""
    return recipe.attn_implementation == "eager" or facts.family == "gemma2"
