"""Keys of the optimizers whose moments live in a projection of the gradient."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.recipe.keys import Keys
from luthier.recipe.kinds import Count, Names, Positive

ProjectionSide = Literal["std", "reverse_std", "right", "left", "full"]


class GaloreKeys(Keys):
    """GaLore (arXiv 2403.03507)."""

    galore_rank: Count | None = Field(
        default=None, description="GaLore: rank of the projection; needed with `galore_adamw`."
    )
    galore_update_proj_gap: Count = Field(
        default=200, description="GaLore: optimizer steps between two projections."
    )
    galore_scale: Positive = Field(
        default=0.25, description="GaLore: factor on the projected update."
    )
    galore_proj_type: ProjectionSide = Field(
        default="std",
        description="GaLore: the side that is projected: the shorter (`std`), the longer "
        "(`reverse_std`), `right`, `left`, or both (`full`).",
    )
    galore_target_modules: Names | None = Field(
        default=None,
        description="GaLore: layers whose gradient is projected; every linear layer but the output "
        "head when absent.",
    )
    galore_svd: Literal["exact", "randomized"] = Field(
        default="exact", description="GaLore: how the projection is found; `randomized` is cheaper."
    )


class ApolloKeys(Keys):
    """APOLLO and APOLLO-Mini (arXiv 2412.05270)."""

    apollo_rank: Count | None = Field(
        default=None,
        description="APOLLO: rank of the projection; needed with `apollo_adamw`. It is 1 in "
        "`apollo_mini_adamw`.",
    )
    apollo_update_proj_gap: Count = Field(
        default=200, description="APOLLO: optimizer steps between two projections."
    )
    apollo_scale: Positive | None = Field(
        default=None,
        description="APOLLO: factor on the scaled gradient; 1 when absent, 128 in "
        "`apollo_mini_adamw`.",
    )
    apollo_proj_type: Literal["std", "reverse_std", "right", "left"] = Field(
        default="std",
        description="APOLLO: the side that is projected: the shorter (`std`), the longer "
        "(`reverse_std`), `right` or `left`.",
    )
    apollo_target_modules: Names | None = Field(
        default=None,
        description="APOLLO: layers whose gradient is projected; every linear layer but the "
        "output head when absent.",
    )
    apollo_proj: Literal["random", "svd"] = Field(
        default="random", description="APOLLO: a random projection, or the gradient's own."
    )
    apollo_scale_type: Literal["channel", "tensor"] | None = Field(
        default=None,
        description="APOLLO: one scale per `channel` or for the whole `tensor`; `channel` when "
        "absent, always `tensor` in `apollo_mini_adamw`.",
    )


class FiraKeys(Keys):
    """Fira (arXiv 2410.01623)."""

    fira_rank: Count | None = Field(
        default=None, description="Fira: rank of the projection; needed with `fira_adamw`."
    )
    fira_update_proj_gap: Count = Field(
        default=200, description="Fira: optimizer steps between two projections."
    )
    fira_scale: Positive = Field(default=0.25, description="Fira: factor on the projected update.")
    fira_proj_type: ProjectionSide = Field(
        default="std",
        description="Fira: the side that is projected: the shorter (`std`), the longer "
        "(`reverse_std`), `right`, `left`, or both (`full`).",
    )
    fira_target_modules: Names | None = Field(
        default=None,
        description="Fira: layers whose gradient is projected; every linear layer but the output "
        "head when absent.",
    )
    fira_svd: Literal["exact", "randomized"] = Field(
        default="exact", description="Fira: how the projection is found; `randomized` is cheaper."
    )
