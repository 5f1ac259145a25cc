"""Rules between amounts, cadences, schedules, kernels and trackers."""

from __future__ import annotations

from collections.abc import Iterator

from luthier.recipe.keys.run import TRACKERS
from luthier.recipe.rules.rule import Mistake, Rule, exclusive
from luthier.recipe.schema import Recipe


def _cosine_floor(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.cosine_min_lr_ratio and recipe.lr_scheduler != "cosine":
        yield Mistake(
            "cosine_min_lr_ratio",
            f"`cosine_min_lr_ratio` has no effect on `lr_scheduler: {recipe.lr_scheduler}`.",
            "Write `lr_scheduler: cosine`, or remove it.",
        )


def _validation_has_data(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.val_set_size or recipe.test_datasets:
        return
    for key in ("eval_steps", "evals_per_epoch", "early_stopping_patience"):
        if key in given:
            yield Mistake(
                key,
                f"`{key}` needs validation data, and there is none.",
                "Add `val_set_size: 0.05` or `test_datasets`.",
            )


def _cadence_fires(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    for key in ("logging_steps", "eval_steps", "save_steps"):
        every = getattr(recipe, key)
        if recipe.max_steps and key in given and every > recipe.max_steps:
            yield Mistake(
                key,
                f"`{key}: {every}` never fires in a run of {recipe.max_steps} steps.",
                f"Write at most {recipe.max_steps}.",
            )


def _warm_up_ends(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.max_steps and recipe.warmup_steps and recipe.warmup_steps >= recipe.max_steps:
        yield Mistake(
            "warmup_steps",
            f"`warmup_steps: {recipe.warmup_steps}` does not end within the run's "
            f"{recipe.max_steps} steps.",
            f"Write less than {recipe.max_steps}.",
        )


def _one_attention(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    flags = [key for key in ("flash_attention", "sdp_attention") if getattr(recipe, key)]
    kernels = {"flash_attention": "flash_attention_2", "sdp_attention": "sdpa"}
    named = recipe.attn_implementation
    if len(flags) == 2 or any(named and kernels[flag] != named for flag in flags):
        yield Mistake(
            "attn_implementation" if named else flags[-1],
            "two different attention kernels are asked for.",
            "Keep one of `flash_attention`, `sdp_attention`, `attn_implementation`.",
        )


def _trackers_agree(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    for tracker in TRACKERS:
        if getattr(recipe, f"use_{tracker}") is False and tracker in recipe.report_to:
            yield Mistake(
                f"use_{tracker}",
                f"`use_{tracker}: false` and `report_to` with `{tracker}` contradict each other.",
                "Keep one.",
            )


def _checkpointing_kwargs(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.gradient_checkpointing_kwargs and not recipe.gradient_checkpointing:
        yield Mistake(
            "gradient_checkpointing_kwargs",
            "`gradient_checkpointing_kwargs` has no effect without gradient checkpointing.",
            "Add `gradient_checkpointing: true`, or remove it.",
        )


GENERAL_RULES: tuple[Rule, ...] = (
    Rule(("cosine_min_lr_ratio", "lr_scheduler"), _cosine_floor),
    exclusive("warmup_steps", "warmup_ratio"),
    exclusive("eval_steps", "evals_per_epoch"),
    exclusive("save_steps", "saves_per_epoch"),
    exclusive("val_set_size", "test_datasets"),
    Rule(("val_set_size", "test_datasets"), _validation_has_data),
    Rule(("max_steps",), _cadence_fires),
    Rule(("max_steps", "warmup_steps"), _warm_up_ends),
    Rule(("flash_attention", "sdp_attention", "attn_implementation"), _one_attention),
    Rule(("report_to",), _trackers_agree),
    Rule(("gradient_checkpointing", "gradient_checkpointing_kwargs"), _checkpointing_kwargs),
)
