"""Rules of training on preference pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from luthier.recipe.dataset import PREFERENCE_FORMATS, DatasetSource
from luthier.recipe.keys.preference import PreferenceKeys
from luthier.recipe.kinds import asks_for_nothing
from luthier.recipe.rules.rule import Mistake, Rule
from luthier.recipe.schema import Recipe

# Key → the methods that use it.
_METHODS: Mapping[str, tuple[str, ...]] = {
    "dpo_beta": ("dpo", "ipo"),
    "orpo_alpha": ("orpo",),
    "simpo_gamma": ("simpo",),
    "dpo_label_smoothing": ("dpo",),
    "ipo_log_ratio": ("ipo",),
    "orpo_nll": ("orpo",),
    "precompute_ref_log_probs": ("dpo", "ipo"),
}
_BETA_KEYS = ("rl_beta", "dpo_beta", "orpo_alpha")
_SUPERVISED_KEYS: Mapping[str, str] = {
    "sample_packing": "the answers of a pair belong into one micro-batch",
    "eval_sample_packing": "the answers of a pair belong into one micro-batch",
    "train_on_inputs": "only the answers are compared",
}


def _keys_have_rl(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.rl is not None:
        return
    for key in PreferenceKeys.model_fields:
        if key in given and not asks_for_nothing(getattr(recipe, key)):
            method = _METHODS.get(key, ("dpo",))[0]
            yield Mistake(
                key,
                f"`{key}` has no effect without `rl`.",
                f"Add `rl: {method}`, or remove `{key}`.",
            )


def _keys_of_method(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.rl is None:
        return
    for key, methods in _METHODS.items():
        if key not in given or recipe.rl in methods or asks_for_nothing(getattr(recipe, key)):
            continue
        instead = " It would be `rl_beta` there." if key in _BETA_KEYS else ""
        yield Mistake(
            key,
            f"`{key}` has no effect with `rl: {recipe.rl}`.{instead}",
            f"Remove it, or write `rl: {methods[0]}`.",
        )


def _one_beta(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    named = [key for key in _BETA_KEYS if getattr(recipe, key) is not None]
    named = [key for key in named if recipe.rl in _METHODS.get(key, (recipe.rl,))]
    if recipe.rl is not None and len(named) > 1:
        yield Mistake(
            named[1],
            f"`{named[0]}` and `{named[1]}` are both given; each is the β of `rl: {recipe.rl}`.",
            "Keep one; in an arm, set the other to null.",
        )


def _not_supervised(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    for key, reason in _SUPERVISED_KEYS.items():
        if recipe.rl is not None and key in given and getattr(recipe, key):
            yield Mistake(
                key,
                f"`{key}: true` and `rl: {recipe.rl}` exclude each other: {reason}.",
                f"Remove `{key}`, or `rl`.",
            )


def _data_fits(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    for key in ("datasets", "test_datasets"):
        sources: tuple[DatasetSource, ...] = getattr(recipe, key) or ()
        for index, source in enumerate(sources):
            if source.holds_pairs == (recipe.rl is not None):
                continue
            path = (key, index, "type")
            kind = f"`type: {source.type}`" if isinstance(source.type, str) else "its `type`"
            if recipe.rl is None:
                what = f"`{key}[{index}]` holds preference pairs ({kind}) and there is no `rl`."
                mend = "Add `rl: dpo` or `rl: orpo`, or use rows with one answer."
            else:
                pairs = ", ".join(f"`{name}`" for name in sorted(PREFERENCE_FORMATS))
                what = f"`rl: {recipe.rl}` needs preference pairs; `{key}[{index}]` has {kind}."
                mend = f"Use a dataset of type {pairs}, or remove `rl`."
            yield Mistake(key, what, mend, path)


def _reference_by_switching(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.rl not in ("dpo", "ipo") or recipe.precompute_ref_log_probs:
        return
    if recipe.adapter is None:
        yield Mistake(
            "precompute_ref_log_probs",
            "`precompute_ref_log_probs: false` without `adapter`: the reference is the model with "
            "its adapter switched off.",
            "Remove it, or add `adapter: lora`.",
        )
    elif recipe.relora:
        yield Mistake(
            "precompute_ref_log_probs",
            "`precompute_ref_log_probs: false` and `relora` exclude each other: after a restart "
            "the base is no longer the reference.",
            "Remove `precompute_ref_log_probs`, or `relora`.",
        )


PREFERENCE_RULES: tuple[Rule, ...] = (
    Rule(("rl",), _keys_have_rl),
    Rule(("rl",), _keys_of_method),
    Rule(("rl", *_BETA_KEYS), _one_beta),
    Rule(("rl",), _not_supervised),
    Rule(("rl", "datasets", "test_datasets"), _data_fits),
    Rule(("rl", "adapter", "relora", "precompute_ref_log_probs"), _reference_by_switching),
)
