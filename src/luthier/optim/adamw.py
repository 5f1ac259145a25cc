"""AdamW (Loshchilov & Hutter 2019) and the table of optimizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

Groups = Sequence[dict[str, Any]]


class AdamSettings(NamedTuple):
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


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


OPTIMIZERS: dict[str, Callable[[Groups, AdamSettings], torch.optim.Optimizer]] = {
    "adamw_torch": build_adamw,
    "adamw_torch_fused": build_fused_adamw,
}
