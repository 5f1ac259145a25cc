"""Fira (Chen et al. 2024, arXiv 2410.01623, algorithm 1): GaLore plus what it leaves out, scaled.

    R = Pᵀ G        N = Adam(R)        S = limited(factors ∘ (G − P R))
    W ← (1 − η λ) W − η α (P N + S)

As in the paper, α multiplies the whole update and the residual is free of it; the authors' code
leaves (1 − α) P R in the residual and does not scale it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from luthier.optim.norm_scaling import compute_channel_factors, limit_growth
from luthier.optim.projected import ProjectedStep
from luthier.optim.settings import ProjectionSettings


def apply_fira(
    weight_MN: Tensor, moved: ProjectedStep, state: dict[str, Any], settings: ProjectionSettings
) -> None:
    """One step of `weight_MN`, in place."""
    factors = compute_channel_factors(moved.direction, moved.low, moved.projection)
    residual_MN = moved.projection.add_back(moved.gradient.clone(), moved.low, alpha=-1.0)
    residual_MN.mul_(factors)
    limit = limit_growth(state, torch.linalg.vector_norm(residual_MN))
    alpha = -moved.learning_rate * settings.scale
    moved.projection.add_back(weight_MN, moved.direction, alpha=alpha, beta=moved.kept)
    weight_MN.addcmul_(residual_MN, limit, value=alpha)
