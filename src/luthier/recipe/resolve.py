"""Values that depend on several keys, worked out once for all who build from a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from luthier.recipe.keys.projection import ProjectionSide
from luthier.recipe.schema import Recipe

Family = Literal["galore", "apollo", "fira"]

_FAMILIES: tuple[Family, ...] = ("galore", "apollo", "fira")
_BETAS: Mapping[str, float] = {"dpo": 0.1, "ipo": 0.1, "simpo": 2.0, "orpo": 0.1}


class Projection(NamedTuple):
    """The keys of a projecting optimizer, each with its value.

    Attributes:
        family: whose update it is.
        rank: of the projected space.
        update_proj_gap: optimizer steps between two projections.
        scale: factor on the update.
        proj_type: the side that is projected.
        target_modules: names of the layers; None for every linear layer but the output head.
        proj: whether the projection is the gradient's own (`svd`) or random.
        svd: how the gradient's own is found.
        scale_type: APOLLO's; None for the others.
    """

    family: Family
    rank: int
    update_proj_gap: int
    scale: float
    proj_type: ProjectionSide
    target_modules: tuple[str, ...] | None
    proj: Literal["svd", "random"]
    svd: Literal["exact", "randomized"]
    scale_type: Literal["channel", "tensor"] | None


def projection_family(optimizer: str) -> Family | None:
    """The family of an `optimizer` value; None where it does not project."""
    return next((family for family in _FAMILIES if optimizer.startswith(f"{family}_")), None)


def resolve_projection(recipe: Recipe) -> Projection | None:
    """What the recipe's optimizer projects and how; None where it does not project."""
    family = projection_family(recipe.optimizer)
    if family is None:
        return None
    if family == "apollo":
        return _resolve_apollo(recipe)
    rank = recipe.galore_rank if family == "galore" else recipe.fira_rank
    assert rank is not None  # The rules hold a recipe to it.
    galore = family == "galore"
    return Projection(
        family,
        rank,
        recipe.galore_update_proj_gap if galore else recipe.fira_update_proj_gap,
        recipe.galore_scale if galore else recipe.fira_scale,
        recipe.galore_proj_type if galore else recipe.fira_proj_type,
        recipe.galore_target_modules if galore else recipe.fira_target_modules,
        "svd",
        recipe.galore_svd if galore else recipe.fira_svd,
        None,
    )


def _resolve_apollo(recipe: Recipe) -> Projection:
    mini = recipe.optimizer == "apollo_mini_adamw"
    rank = 1 if mini else recipe.apollo_rank
    assert rank is not None  # The rules hold a recipe to it.
    usual_scale = 128.0 if mini else 1.0
    return Projection(
        "apollo",
        rank,
        recipe.apollo_update_proj_gap,
        usual_scale if recipe.apollo_scale is None else recipe.apollo_scale,
        recipe.apollo_proj_type,
        recipe.apollo_target_modules,
        recipe.apollo_proj,
        "exact",
        "tensor" if mini else recipe.apollo_scale_type or "channel",
    )


def preference_beta(recipe: Recipe) -> float:
    """β of the recipe's preference method, under whichever of its names it is given."""
    assert recipe.rl is not None, "a supervised recipe has no β"
    named = (recipe.rl_beta, recipe.dpo_beta, recipe.orpo_alpha)
    return next((beta for beta in named if beta is not None), _BETAS[recipe.rl])


def resolve_bf16(recipe: Recipe) -> bool | Literal["auto"]:
    """`bf16`, or where that is `auto` what `bnb_4bit_compute_dtype` says."""
    if recipe.bf16 == "auto" and recipe.bnb_4bit_compute_dtype is not None:
        return recipe.bnb_4bit_compute_dtype == "bfloat16"
    return recipe.bf16


def quantised_bits(recipe: Recipe) -> Literal[4, 8] | None:
    """Bits of the frozen base's weights; None where they are not quantised."""
    if recipe.load_in_4bit:
        return 4
    return 8 if recipe.load_in_8bit else None


def restart_points(recipe: Recipe, total_steps: int) -> tuple[int, ...]:
    """The optimizer steps after which ReLoRA restarts, rising; empty without ReLoRA.

    `relora_iterations: N` gives N - 1 of them, as evenly as whole steps allow (a run of fewer
    steps than N gives fewer). Nothing restarts after the last step.
    """
    if not recipe.relora:
        return ()
    if recipe.jagged_restart_steps is not None:
        return tuple(range(recipe.jagged_restart_steps, total_steps, recipe.jagged_restart_steps))
    assert recipe.relora_iterations is not None  # The rules hold a recipe to it.
    parts = recipe.relora_iterations
    points = {total_steps * part // parts for part in range(1, parts)}
    return tuple(sorted(points - {0}))
