"""AdamW (Loshchilov & Hutter 2019)."""

from __future__ import annotations

import torch

from luthier.optim.settings import Groups, OptimizerSettings


def build_adamw(groups: Groups, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """PyTorch's AdamW, one kernel an operation."""
    return _adamw(groups, settings, fused=False)


def build_fused_adamw(groups: Groups, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """PyTorch's AdamW, one kernel for the whole step."""
    return _adamw(groups, settings, fused=True)


def _adamw(groups: Groups, settings: OptimizerSettings, *, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [{key: value for key, value in group.items() if key != "names"} for group in groups],
        betas=(settings.adam.beta1, settings.adam.beta2),
        eps=settings.adam.epsilon,
        fused=fused,
    )
