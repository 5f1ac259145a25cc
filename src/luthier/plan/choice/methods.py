"""The methods that a plan weighs against one another, as changes to the user's recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from luthier.plan.choice.recipe_changes import change_recipe
from luthier.recipe.resolve import quantised_bits, resolve_projection
from luthier.recipe.rules.adapter import ADAPTER_KEYS
from luthier.recipe.schema import Recipe

Family = Literal[
    "full", "full, 8-bit AdamW", "LoRA", "rsLoRA", "DoRA", "DoRA stack", "QLoRA", "8-bit LoRA",
    "ReLoRA", "other LoRA", "GaLore", "APOLLO", "Fira",
]  # fmt: skip

_PROJECTING: Mapping[str, Family] = {"galore": "GaLore", "apollo": "APOLLO", "fira": "Fira"}


class Method(NamedTuple):
    """What is trained and how, without the amounts: what a published result is known for.

    Attributes:
        family: the technique.
        rank: of the adapter or of the projection; None for full fine-tuning, and in a published
            result that does not say it.
        objective: `sft`, or the method of preference training.
    """

    family: Family
    rank: int | None = None
    objective: str = "sft"

    @property
    def title(self) -> str:
        """`LoRA r32`, `full`, `orpo · LoRA r32`."""
        rank = f" r{self.rank}" if self.rank is not None else ""
        before = "" if self.objective == "sft" else f"{self.objective} · "
        return f"{before}{self.family}{rank}"


def name_method(recipe: Recipe) -> Method:
    """The method of a recipe.

    `DoRA stack` is DoRA with rsLoRA, LoRA+ and NEFTune at once. A combination that has no name
    here is `other LoRA`: the result of a part of it says nothing about the whole.
    """
    objective = recipe.rl or "sft"
    if recipe.adapter is None:
        projection = resolve_projection(recipe)
        if projection is None:
            eight = recipe.optimizer == "adamw_bnb_8bit"
            return Method("full, 8-bit AdamW" if eight else "full", None, objective)
        return Method(_PROJECTING[projection.family], projection.rank, objective)
    return Method(_name_adapter(recipe), recipe.lora_r, objective)


def _name_adapter(recipe: Recipe) -> Family:
    extras = (
        recipe.peft_use_dora,
        recipe.peft_use_rslora,
        recipe.loraplus_lr_ratio is not None,
        recipe.neftune_noise_alpha is not None,
        recipe.relora,
    )
    bits = quantised_bits(recipe)
    if bits is not None:
        return "other LoRA" if any(extras) else "QLoRA" if bits == 4 else "8-bit LoRA"
    named: Mapping[tuple[bool, ...], Family] = {
        (False, False, False, False, False): "LoRA",
        (False, True, False, False, False): "rsLoRA",
        (True, False, False, False, False): "DoRA",
        (True, True, True, True, False): "DoRA stack",
        (False, False, False, False, True): "ReLoRA",
    }
    return named.get(extras, "other LoRA")


def _lora(rank: int, **more: Any) -> dict[str, Any]:
    return {
        "adapter": "lora",
        "lora_r": rank,
        "lora_alpha": 2 * rank,
        "learning_rate": 2e-4,
        **more,
    }


# Method → the keys that make it. Ranks are those of the published results; learning rates the
# usual ones for each, so that a row that is chosen can be run.
METHODS: Mapping[str, Mapping[str, Any]] = {
    "LoRA": _lora(32),
    "rsLoRA": _lora(64, peft_use_rslora=True, learning_rate=1e-4),
    "DoRA": _lora(32, peft_use_dora=True),
    "DoRA stack": _lora(
        128,
        peft_use_dora=True,
        peft_use_rslora=True,
        loraplus_lr_ratio=16,
        neftune_noise_alpha=5,
        learning_rate=1e-5,
    ),
    "QLoRA": _lora(64, adapter="qlora", load_in_4bit=True),
    "ReLoRA": _lora(64, relora=True, relora_iterations=3),
    "GaLore": {"optimizer": "galore_adamw_8bit", "galore_rank": 128, "learning_rate": 2e-5},
    "APOLLO": {"optimizer": "apollo_adamw", "apollo_rank": 256, "learning_rate": 2e-5},
    "full": {"optimizer": "adamw_torch_fused", "learning_rate": 1e-5},
    "full, 8-bit AdamW": {"optimizer": "adamw_bnb_8bit", "learning_rate": 1e-5},
}

# What decides the method of a recipe: another one starts without it.
_METHOD_KEYS = ("adapter", "optimizer", "neftune_noise_alpha", *ADAPTER_KEYS)
# Which layers have an adapter is a choice of its own, and stays.
_KEPT_KEYS = ("lora_target_modules", "lora_target_linear")


class Candidate(NamedTuple):
    """The user's recipe, trained by one method.

    Attributes:
        title: what the row is called.
        method: what published results are looked up by.
        recipe: the changed recipe.
        changes: the keys that differ from the user's recipe; `None` unsets one.
    """

    title: str
    method: Method
    recipe: Recipe
    changes: Mapping[str, Any]


def list_candidates(recipe: Recipe) -> tuple[Candidate, ...]:
    """The user's own recipe first, then every method of the table that it is not already.

    Methods that the rules refuse for this recipe are left out.
    """
    own = name_method(recipe)
    found = [Candidate(f"{_title(own, recipe)} (yours)", own, recipe, {})]
    seen = {_title(own, recipe)}
    for keys in METHODS.values():
        changes = _changes_for(recipe, keys)
        changed = change_recipe(recipe, changes)
        if changed is None:
            continue
        method = name_method(changed)
        title = _title(method, changed)
        if title not in seen:
            seen.add(title)
            found.append(Candidate(title, method, changed, changes))
    return tuple(found)


def _changes_for(recipe: Recipe, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Every key that decides a method: set by `keys`, or unset where the recipe has it."""
    defaults = {name: field.default for name, field in Recipe.model_fields.items()}
    unset: dict[str, Any] = {
        key: None
        for key in _METHOD_KEYS
        if key not in _KEPT_KEYS and getattr(recipe, key) != defaults[key]
    }
    named = recipe.lora_target_modules or recipe.lora_target_linear
    layers = {} if named or "adapter" not in keys else {"lora_target_linear": True}
    # Preference training takes a far smaller rate than these, which the user has found.
    kept = ("learning_rate",) if recipe.rl is not None else ()
    return {**unset, **layers, **{key: value for key, value in keys.items() if key not in kept}}


def _title(method: Method, recipe: Recipe) -> str:
    eight = recipe.optimizer == "adamw_bnb_8bit" and recipe.adapter is not None
    bits = ", 8-bit AdamW" if eight else ""
    restarts = f" ×{recipe.relora_iterations}" if recipe.relora_iterations else ""
    return f"{method.title}{restarts}{bits}"
