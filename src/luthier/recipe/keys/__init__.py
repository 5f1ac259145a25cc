"""The keys of a recipe, in parts by topic; `schema` puts them together."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Keys(BaseModel):
    """One part of the recipe's keys; only `Recipe` itself is ever built."""

    model_config = ConfigDict(frozen=True, extra="forbid")
