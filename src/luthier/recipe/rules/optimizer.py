"""Rules of the optimizers that project gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from luthier.recipe.keys import Keys
from luthier.recipe.keys.projection import ApolloKeys, FiraKeys, GaloreKeys
from luthier.recipe.resolve import projection_family
from luthier.recipe.rules.rule import Mistake, Rule
from luthier.recipe.schema import Recipe

_KEYS_OF_FAMILY: Mapping[str, type[Keys]] = {
    "galore": GaloreKeys,
    "apollo": ApolloKeys,
    "fira": FiraKeys,
}
_MINI = "apollo_mini_adamw"


def _no_adapter(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.adapter and projection_family(recipe.optimizer):
        yield Mistake(
            "optimizer",
            f"`optimizer: {recipe.optimizer}` and `adapter: {recipe.adapter}` exclude each other: "
            "it projects the gradients of whole weights, which an adapter freezes.",
            "Remove `adapter`, or write `optimizer: adamw_torch_fused`.",
        )


def _rank(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    family = projection_family(recipe.optimizer)
    if family and recipe.optimizer != _MINI and getattr(recipe, f"{family}_rank") is None:
        yield Mistake(
            "optimizer",
            f"`optimizer: {recipe.optimizer}` needs `{family}_rank`.",
            f"Usual: `{family}_rank: 128`, or a quarter of the model's width.",
        )


def _keys_have_optimizer(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    for family, keys in _KEYS_OF_FAMILY.items():
        if family == projection_family(recipe.optimizer):
            continue
        for key in keys.model_fields:
            if key in given:
                yield Mistake(
                    key,
                    f"`{key}` has no effect with `optimizer: {recipe.optimizer}`.",
                    f"Write `optimizer: {family}_adamw`, or remove `{key}`.",
                )


def _mini(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
    if recipe.optimizer != _MINI:
        return
    fixed = {"apollo_rank": 1, "apollo_scale_type": "tensor"}
    for key, value in fixed.items():
        if getattr(recipe, key) not in (None, value):
            yield Mistake(
                key,
                f"`{key}` is always `{value}` with `optimizer: {_MINI}`.",
                "Remove it, or write `optimizer: apollo_adamw`.",
            )


OPTIMIZER_RULES: tuple[Rule, ...] = (
    Rule(("optimizer", "adapter"), _no_adapter),
    Rule(("optimizer", "galore_rank", "apollo_rank", "fira_rank"), _rank),
    Rule(("optimizer",), _keys_have_optimizer),
    Rule(("optimizer", "apollo_rank", "apollo_scale_type"), _mini),
)
