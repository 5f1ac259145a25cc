"""APOLLO (Zhu et al. 2024, arXiv 2412.05270, algorithm 1): the gradient itself, scaled.

    R = Pᵀ G        N = Adam(R)        sᵢ = ‖Nᵢ‖ / ‖Rᵢ‖        W ← (1 − η λ) W − η √α limited(s ∘ G)

Low-rank moments only tell how long each channel's step is; its direction is the raw gradient's. P
is random. APOLLO-Mini has rank 1 and one s for the whole tensor. √α is the authors' code, where
`scale` is 1, and 128 for Mini; the limiter is Fira's. N is corrected for its bias before it is
limited, as in Fira's algorithm; the authors' code corrects afterwards.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from luthier.optim.norm_scaling import (
    compute_channel_factors,
    compute_tensor_factor,
    limit_growth,
)
from luthier.optim.projected import ProjectedStep
from luthier.optim.settings import ProjectionSettings


def apply_apollo(
    weight_MN: Tensor, moved: ProjectedStep, state: dict[str, Any], settings: ProjectionSettings
) -> None:
    """One step of `weight_MN`, in place."""
    if settings.scaling == "tensor":
        factors = compute_tensor_factor(moved.direction, moved.low)
    else:
        factors = compute_channel_factors(moved.direction, moved.low, moved.projection)
    # ‖s ∘ G‖ from the norms of G's channels: no second tensor of the gradient's size.
    dims = (0, 1) if factors.ndim == 0 else (0,) if factors.shape[0] == 1 else (1,)
    lengths = torch.linalg.vector_norm(moved.gradient, dim=dims, keepdim=factors.ndim > 0)
    limit = limit_growth(state, torch.linalg.vector_norm(factors * lengths))
    if moved.kept != 1.0:
        weight_MN.mul_(moved.kept)
    rate = -moved.learning_rate * math.sqrt(settings.scale)
    weight_MN.addcmul_(moved.gradient, factors * limit, value=rate)
