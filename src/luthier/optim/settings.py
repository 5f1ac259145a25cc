"""What the optimizers are told: Adam's constants, and how a gradient is projected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Groups = Sequence[dict[str, Any]]
Side = Literal["std", "reverse_std", "right", "left", "full"]
Basis = Literal["exact", "randomized", "random"]


class AdamSettings(NamedTuple):
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


class ProjectionSettings(NamedTuple):
    """How the gradients of the chosen weights are projected.

    Attributes:
        targets: names of the projected weights; all others run plain AdamW.
        rank: of the projected gradient; a weight with a shorter side is projected to that.
        gap: optimizer steps between two projectors.
        scale: GaLore's and Fira's α; APOLLO's update is multiplied by its square root.
        side: which side is projected; `std` the shorter one, `reverse_std` the longer.
        basis: from the gradient's exact or randomized SVD, or random and independent of it.
        scaling: APOLLO's factor, one a channel or one a tensor.
        seed: of the randomized and of the random basis.
    """

    targets: frozenset[str]
    rank: int
    gap: int = 200
    scale: float = 0.25
    side: Side = "std"
    basis: Basis = "exact"
    scaling: Literal["channel", "tensor"] = "channel"
    seed: int = 0


class OptimizerSettings(NamedTuple):
    """Everything an optimizer is built from, besides its groups.

    Attributes:
        projection: needed by GaLore, APOLLO and Fira, unused by the others.
        embeddings: names of embedding weights; 8-bit AdamW keeps their moments in 32 bits, since
            few rows of an embedding have a gradient in a step (Dettmers et al. 2022, section 2.3).
    """

    adam: AdamSettings = AdamSettings()
    projection: ProjectionSettings | None = None
    embeddings: frozenset[str] = frozenset()
