"""What a recipe asks of a machine, in the planner's terms."""

from __future__ import annotations

from typing import Literal, NamedTuple

from luthier.plan.figure import Figure
from luthier.plan.model.model_facts import ModelFacts
from luthier.recipe.schema import Recipe

# Whose training loop runs the recipe. They differ in the logits that they keep, in the precision
# of a fully trained model's weights, and in the optimizer's temporary memory.
Engine = Literal["luthier", "transformers", "accelerated-peft", "fused-loss", "liger"]


class Workload(NamedTuple):
    """One recipe on one model, without the machine.

    Attributes:
        recipe: the recipe, resolved.
        facts: the base model's.
        engine: whose training loop.
        trainable: weights that are trained.
        longest_tokens: tokens of the largest micro-batch on one device: memory's.
        mean_tokens: tokens of an average micro-batch on one device: time's.
        supervised_share: share of the tokens that carry a label.
        examples: training examples in one epoch.
        tokens: tokens that are trained on, all epochs together (both answers of a pair).
        optimizer_steps: in the whole run.
        example_tokens: tokens of an average example: how far attention reaches; 0 where that is
            the whole micro-batch's mean over its examples.
        validation_tokens: of one pass over the validation data.
    """

    recipe: Recipe
    facts: ModelFacts
    engine: Engine
    trainable: int
    longest_tokens: Figure
    mean_tokens: Figure
    supervised_share: Figure
    examples: Figure
    tokens: Figure
    optimizer_steps: Figure
    example_tokens: Figure = Figure(0.0, "computed")
    validation_tokens: Figure = Figure(0.0, "computed")
