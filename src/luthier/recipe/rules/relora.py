"""Rules of ReLoRA's restarts."""

from __future__ import annotations

from collections.abc import Iterator

from luthier.recipe.keys.adapter import ReloraKeys
from luthier.recipe.kinds import asks_for_nothing
from luthier.recipe.rules.rule import Mistake, Rule
from luthier.recipe.schema import Recipe

_PART_KEYS = ("relora_iterations", "jagged_restart_steps")


def _has_adapter(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.relora and recipe.adapter is None:
        yield Mistake(
            "relora",
            "`relora: true` without `adapter`: there is nothing to merge at a restart.",
            "Add `adapter: lora`, or remove `relora`.",
        )


def _keys_have_relora(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.relora:
        return
    for key in ReloraKeys.model_fields:
        if key in given and not asks_for_nothing(getattr(recipe, key)):
            yield Mistake(
                key,
                f"`{key}` has no effect without `relora`.",
                f"Add `relora: true`, or remove `{key}`.",
            )


def _one_length(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    lengths = [key for key in _PART_KEYS if getattr(recipe, key)]
    if recipe.relora and not lengths:
        yield Mistake(
            "relora",
            "`relora: true` needs `relora_iterations` or `jagged_restart_steps`.",
            "Write `relora_iterations: 3` to divide the run into three parts.",
        )
    if recipe.relora and len(lengths) == 2:
        yield Mistake(
            "jagged_restart_steps",
            "`relora_iterations` and `jagged_restart_steps` are both given.",
            "Keep one; in an arm, set the other to null.",
        )


def _restarts(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if not recipe.relora:
        return
    parts, steps, end = recipe.relora_iterations, recipe.jagged_restart_steps, recipe.max_steps
    if parts == 1:
        yield Mistake(
            "relora_iterations",
            "`relora_iterations: 1` makes no restart, so `relora` has no effect.",
            "Write at least 2, or remove both.",
        )
    if parts and end and parts > end:
        yield Mistake(
            "relora_iterations",
            f"`relora_iterations: {parts}` is more than the run's `max_steps: {end}`.",
            f"Write at most {end}.",
        )
    if steps and end and steps >= end:
        yield Mistake(
            "jagged_restart_steps",
            f"`jagged_restart_steps: {steps}` makes no restart in a run of `max_steps: {end}`.",
            f"Write less than {end}.",
        )


def _part_has_room(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if not recipe.relora:
        return
    steps = recipe.jagged_restart_steps
    if steps is None and recipe.relora_iterations and recipe.max_steps:
        steps = recipe.max_steps // recipe.relora_iterations
    warmup, anneal = recipe.jagged_restart_warmup_steps, recipe.jagged_restart_anneal_steps
    if not steps or warmup + anneal < steps:
        return
    yield Mistake(
        "jagged_restart_warmup_steps" if warmup else "jagged_restart_anneal_steps",
        f"`jagged_restart_warmup_steps: {warmup}` and `jagged_restart_anneal_steps: {anneal}` "
        f"leave nothing of a part of {steps} steps.",
        f"Write less than {steps} for both together.",
    )


def _annealing(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.relora and recipe.jagged_restart_anneal_steps == 1:
        yield Mistake(
            "jagged_restart_anneal_steps",
            "`jagged_restart_anneal_steps: 1` has no effect: the one step before the restart "
            "still has its whole rate.",
            "Write at least 2, or remove it.",
        )


def _pruning(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.relora and recipe.relora_prune_method == "reset" and "relora_prune_ratio" in given:
        yield Mistake(
            "relora_prune_ratio",
            "`relora_prune_ratio` has no effect with `relora_prune_method: reset`, which keeps "
            "nothing.",
            "Remove it, or write `relora_prune_method: magnitude`.",
        )


def _no_early_stop(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.relora and recipe.early_stopping_patience:
        yield Mistake(
            "early_stopping_patience",
            "`early_stopping_patience` and `relora` exclude each other: the loss rises at every "
            "restart.",
            "Remove `early_stopping_patience`, or `relora`.",
        )


RELORA_RULES: tuple[Rule, ...] = (
    Rule(("relora", "adapter"), _has_adapter),
    Rule(("relora",), _keys_have_relora),
    Rule(("relora", *_PART_KEYS), _one_length),
    Rule(("relora", *_PART_KEYS, "max_steps"), _restarts),
    Rule(tuple(ReloraKeys.model_fields), _part_has_room),
    Rule(("relora", "jagged_restart_anneal_steps"), _annealing),
    Rule(("relora", "relora_prune_method"), _pruning),
    Rule(("relora",), _no_early_stop),
)
