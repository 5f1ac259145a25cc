"""What must hold between keys; each rule names its keys, what is wrong and the mend.

A setting that would change nothing is a mistake too: silence about it is how a study ends up
comparing an arm with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from luthier.recipe.dataset import ColumnName, DatasetSource, placeholders
from luthier.recipe.keys.run import TRACKERS
from luthier.recipe.kinds import asks_for_nothing
from luthier.recipe.schema import Recipe


class Mistake(NamedTuple):
    """A broken rule: the key to point at, what is wrong, what to do."""

    key: str
    what: str
    mend: str


class Rule(NamedTuple):
    """A rule, and the keys that must each be valid before it can be judged."""

    keys: tuple[str, ...]
    find: Callable[[Recipe, frozenset[str]], Iterator[Mistake]]


ADAPTER_KEYS = (
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "lora_target_linear",
    "peft_use_dora",
    "peft_use_rslora",
    "loraplus_lr_ratio",
    "loraplus_lr_embedding",
)
_GENERATOR_KEYS = ("level", "style", "count", "seed", "hide_values")


def _adapter_needs(key: str, usual: str) -> Rule:
    def find(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
        if recipe.adapter is not None and getattr(recipe, key) is None:
            mend = f"Usual: `{key}: {usual}`."
            yield Mistake("adapter", f"`adapter: {recipe.adapter}` needs `{key}`.", mend)

    return Rule(("adapter", key), find)


def _adapter_has_layers(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.adapter and not recipe.lora_target_modules and not recipe.lora_target_linear:
        yield Mistake(
            "adapter",
            f"`adapter: {recipe.adapter}` needs the layers to adapt.",
            "Write `lora_target_linear: true`, or name them in `lora_target_modules`.",
        )


def _adapter_keys_have_one(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.adapter is not None:
        return
    for key in ADAPTER_KEYS:
        if key in given and not asks_for_nothing(getattr(recipe, key)):
            yield Mistake(
                key,
                f"`{key}` has no effect without an adapter.",
                f"Add `adapter: lora`, or remove `{key}`.",
            )


def _lora_plus(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if "loraplus_lr_embedding" in given and recipe.adapter and recipe.loraplus_lr_ratio is None:
        yield Mistake(
            "loraplus_lr_embedding",
            "`loraplus_lr_embedding` has no effect without LoRA+.",
            "Add `loraplus_lr_ratio: 16`, or remove it.",
        )


def _cosine_floor(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.cosine_min_lr_ratio and recipe.lr_scheduler != "cosine":
        yield Mistake(
            "cosine_min_lr_ratio",
            f"`cosine_min_lr_ratio` has no effect on `lr_scheduler: {recipe.lr_scheduler}`.",
            "Write `lr_scheduler: cosine`, or remove it.",
        )


def _exclusive(first: str, second: str) -> Rule:
    def find(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
        if getattr(recipe, first) and getattr(recipe, second):
            yield Mistake(
                second,
                f"`{first}` and `{second}` are both given.",
                "Keep one; in an arm, set the other to null.",
            )

    return Rule((first, second), find)


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


RULES: tuple[Rule, ...] = (
    _adapter_needs("lora_r", "8"),
    _adapter_needs("lora_alpha", "16"),
    Rule(("adapter", "lora_target_modules", "lora_target_linear"), _adapter_has_layers),
    Rule(("adapter",), _adapter_keys_have_one),
    Rule(("adapter", "loraplus_lr_ratio"), _lora_plus),
    Rule(("cosine_min_lr_ratio", "lr_scheduler"), _cosine_floor),
    _exclusive("warmup_steps", "warmup_ratio"),
    _exclusive("eval_steps", "evals_per_epoch"),
    _exclusive("save_steps", "saves_per_epoch"),
    _exclusive("val_set_size", "test_datasets"),
    Rule(("val_set_size", "test_datasets"), _validation_has_data),
    Rule(("max_steps",), _cadence_fires),
    Rule(("max_steps", "warmup_steps"), _warm_up_ends),
    Rule(("flash_attention", "sdp_attention", "attn_implementation"), _one_attention),
    Rule(("report_to",), _trackers_agree),
    Rule(("gradient_checkpointing", "gradient_checkpointing_kwargs"), _checkpointing_kwargs),
)


def find_mistakes(
    recipe: Recipe, given: frozenset[str], invalid: frozenset[str]
) -> Iterator[Mistake]:
    """Every broken rule between the recipe's keys.

    Args:
        recipe: the recipe, with stand-ins for what is invalid.
        given: keys that were written.
        invalid: keys with a mistake of their own; rules about them are not judged, and they are
            never pointed at a second time.
    """
    for rule in RULES:
        if not invalid.intersection(rule.keys):
            yield from (found for found in rule.find(recipe, given) if found.key not in invalid)


def find_source_mistakes(
    source: DatasetSource, given: frozenset[str], *, path_needed: bool
) -> Iterator[Mistake]:
    """Every broken rule inside one dataset; `path_needed` is false where a study brings data."""
    if source.path is None and source.generate is None and path_needed:
        yield Mistake("", "the dataset has no `path`.", "Write `path: FILE` or a hub id.")
    if source.path is not None and source.generate is not None:
        yield Mistake("generate", "`path` and `generate` are both given.", "Keep one of them.")
    if source.generate is None:
        for key in _GENERATOR_KEYS:
            if key in given:
                mend = f"Add `generate: elle`, or remove `{key}`."
                yield Mistake(key, f"`{key}` has no effect without `generate`.", mend)
    elif source.type not in ("chat_template", "messages"):
        yield Mistake("type", "generated rows are conversations.", "Write `type: chat_template`.")
    if not source.roles_to_train:
        yield Mistake(
            "roles_to_train", "no role is trained.", "Write `roles_to_train: [assistant]`."
        )
    for name in source.message_property_mappings or {}:
        if name not in ("role", "content"):
            what = f"`{name}` is not a property of a message."
            yield Mistake("message_property_mappings", what, "Map `role` and `content` only.")
    yield from _columns_fit(source)


def _columns_fit(source: DatasetSource) -> Iterator[Mistake]:
    columns = source.columns
    if columns is None:
        return
    kinds = {type(part) for part in _column_parts(source)}
    if len(kinds) > 1:
        yield Mistake(
            "columns",
            "column headers and indexes are mixed; an index means that there is no header.",
            "Use one kind.",
        )
    if kinds != {int}:
        return  # Every header of the file is a name too, so only the file can tell.
    listed = ", ".join(f"`{name}`" for name in columns)
    if any(isinstance(part, int) and part < 0 for part in _column_parts(source)):
        yield Mistake("columns", "a column index is below 0.", "Count columns from 0.")
    if source.type == "classification" and "label" not in columns:
        what = f"`columns` names no `label`, only {listed}."
        yield Mistake("columns", what, "Add `label:` with its column.")
    for name in placeholders(source.prompt or ""):
        if name not in columns and not name.isdecimal():
            yield Mistake(
                "prompt", f"`{{{name}}}` is not among the columns {listed}.", "Use one of those."
            )


def _column_parts(source: DatasetSource) -> Iterator[ColumnName]:
    for column in (source.columns or {}).values():
        if isinstance(column, tuple):
            yield from column
        else:
            yield column
