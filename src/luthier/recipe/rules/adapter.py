"""Rules of the adapter and of the quantised base under it."""

from __future__ import annotations

from collections.abc import Iterator

from luthier.recipe.keys.adapter import AdapterKeys, QuantisationKeys, ReloraKeys
from luthier.recipe.kinds import asks_for_nothing
from luthier.recipe.rules.rule import Mistake, Rule, exclusive
from luthier.recipe.schema import Recipe

LORA_KEYS = tuple(key for key in AdapterKeys.model_fields if key != "adapter")
QUANTISATION_KEYS = tuple(QuantisationKeys.model_fields)
_4BIT_KEYS = tuple(key for key in QUANTISATION_KEYS if key.startswith("bnb_4bit_"))
# All that means nothing without an adapter; an arm without one leaves them out.
ADAPTER_KEYS = (*LORA_KEYS, *QUANTISATION_KEYS, *ReloraKeys.model_fields)


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
    for key in LORA_KEYS:
        if key in given and not asks_for_nothing(getattr(recipe, key)):
            yield Mistake(
                key,
                f"`{key}` has no effect without an adapter.",
                f"Add `adapter: lora`, or remove `{key}`.",
            )


def _qlora_is_4bit(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.adapter != "qlora" or recipe.load_in_4bit:
        return
    if recipe.load_in_8bit:
        yield Mistake(
            "adapter",
            "`adapter: qlora` is on a 4-bit base, and `load_in_8bit` asks for 8 bit.",
            "Write `load_in_4bit: true` instead of it, or `adapter: lora`.",
        )
    else:
        yield Mistake(
            "adapter",
            "`adapter: qlora` needs `load_in_4bit: true`.",
            "Add it, or write `adapter: lora`.",
        )


def _quantised_has_adapter(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    for key in ("load_in_4bit", "load_in_8bit"):
        if getattr(recipe, key) and recipe.adapter is None:
            yield Mistake(
                key,
                f"`{key}: true` without `adapter`: quantised weights cannot be trained.",
                f"Add `adapter: {'qlora' if key == 'load_in_4bit' else 'lora'}`, or remove "
                f"`{key}`.",
            )


def _4bit_keys_have_4bit(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.load_in_4bit or recipe.adapter == "qlora":
        return
    for key in QUANTISATION_KEYS:
        if (
            key.startswith("bnb_4bit")
            and key in given
            and not asks_for_nothing(getattr(recipe, key))
        ):
            yield Mistake(
                key,
                f"`{key}` has no effect without `load_in_4bit`.",
                f"Add `load_in_4bit: true`, or remove `{key}`.",
            )


def _one_precision(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    dtype = recipe.bnb_4bit_compute_dtype
    if dtype is None or recipe.bf16 == "auto" or recipe.bf16 == (dtype == "bfloat16"):
        return
    flag = str(recipe.bf16).lower()
    yield Mistake(
        "bnb_4bit_compute_dtype",
        f"`bnb_4bit_compute_dtype: {dtype}` and `bf16: {flag}` contradict each other.",
        "Keep one of them; the other follows.",
    )


ADAPTER_RULES: tuple[Rule, ...] = (
    _adapter_needs("lora_r", "8"),
    _adapter_needs("lora_alpha", "16"),
    Rule(("adapter", "lora_target_modules", "lora_target_linear"), _adapter_has_layers),
    Rule(("adapter",), _adapter_keys_have_one),
    exclusive("load_in_4bit", "load_in_8bit"),
    Rule(("adapter", "load_in_4bit", "load_in_8bit"), _qlora_is_4bit),
    Rule(("adapter", "load_in_4bit", "load_in_8bit"), _quantised_has_adapter),
    Rule(("adapter", "load_in_4bit"), _4bit_keys_have_4bit),
    Rule(("bnb_4bit_compute_dtype", "bf16"), _one_precision),
)
