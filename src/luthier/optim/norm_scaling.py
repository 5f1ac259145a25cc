"""What APOLLO and Fira share: a gradient scaled by norms, and a limit to how fast it grows.

    factorᵢ = ‖directionᵢ‖ / (‖lowᵢ‖ + ε)       for each channel i that is not projected
    S ← S · γ / max(‖S‖ / (‖S of the step before‖ + ε), γ)

Chen et al. 2024 (Fira), equations 10 to 12 and algorithm 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from luthier.optim.projection import Projection

GROWTH_LIMIT, EPSILON = 1.01, 1e-8


def compute_channel_factors(direction: Tensor, low: Tensor, projection: Projection) -> Tensor:
    """(M, 1) or (1, N): how much Adam lengthens each row or column that is not projected.

    With both sides projected no channel is left: one factor for the whole, as equation 10.
    """
    if projection.left is not None and projection.right is not None:
        return compute_tensor_factor(direction, low)
    side = 0 if projection.right is None else 1
    lengths = torch.linalg.vector_norm(low, dim=side, keepdim=True)
    return torch.linalg.vector_norm(direction, dim=side, keepdim=True) / (lengths + EPSILON)


def compute_tensor_factor(direction: Tensor, low: Tensor) -> Tensor:
    """One number: how much Adam lengthens the whole projected gradient."""
    return torch.linalg.vector_norm(direction) / (torch.linalg.vector_norm(low) + EPSILON)


def limit_growth(state: dict[str, Any], norm: Tensor) -> Tensor:
    """The factor, at most 1, that keeps `norm` below γ times that of the step before.

    The first step is not limited, nor the one after a gradient of zero, from which no growth could
    lead away.
    """
    before: Tensor = state.get("norm", torch.zeros_like(norm))
    growth = (norm / (before + EPSILON)).clamp_(min=GROWTH_LIMIT)
    factor = torch.where(before > 0, GROWTH_LIMIT / growth, 1.0)
    state["norm"] = norm * factor
    return factor
