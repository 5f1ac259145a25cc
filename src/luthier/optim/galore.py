"""GaLore (Zhao et al. 2024, arXiv 2403.03507, algorithm 2): Adam on the projected gradient.

    R = Pᵀ G        N = Adam(R)        W ← (1 − η λ) W − η α P N

The weight decay acts on the whole weight and before the update, as in AdamW; galore-torch decays
after it, which differs by η² λ α P N.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from luthier.optim.projected import ProjectedStep
from luthier.optim.settings import ProjectionSettings


def apply_galore(
    weight_MN: Tensor, moved: ProjectedStep, _state: dict[str, Any], settings: ProjectionSettings
) -> None:
    """One step of `weight_MN`, in place."""
    alpha = -moved.learning_rate * settings.scale
    moved.projection.add_back(weight_MN, moved.direction, alpha=alpha, beta=moved.kept)
