"""AdamW (Loshchilov & Hutter 2019)."""

from __future__ import annotations

import torch

from luthier.optim.settings import AdamSettings, Groups


def build_adamw(groups: Groups, settings: AdamSettings) -> torch.optim.Optimizer:
    """PyTorch's AdamW, one kernel an operation."""
    return _adamw(groups, settings, fused=False)


def build_fused_adamw(groups: Groups, settings: AdamSettings) -> torch.optim.Optimizer:
    """PyTorch's AdamW, one kernel for the whole step."""
    return _adamw(groups, settings, fused=True)


def _adamw(groups: Groups, settings: AdamSettings, *, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [{key: value for key, value in group.items() if key != "names"} for group in groups],
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=fused,
    )
