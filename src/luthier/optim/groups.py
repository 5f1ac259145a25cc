"""Parameter groups: which learning rate and weight decay each trained tensor has.

LoRA+ (Hayou et al. 2024, section 4) gives B a learning rate `ratio` times that of A. DoRA's
magnitude is neither: it moves at A's rate, the plain `learning_rate`. One-dimensional parameters
(biases, norms, magnitudes) are not decayed, everything else is, under LoRA+ too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn


class GroupSettings(NamedTuple):
    learning_rate: float
    weight_decay: float
    loraplus_ratio: float | None = None


def build_groups(
    parameters: Mapping[str, nn.Parameter], roles: Mapping[str, str], settings: GroupSettings
) -> list[dict[str, Any]]:
    """Optimizer groups, each with `params`, `names`, `lr` and `weight_decay`; none is empty."""
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in parameters.items():
        rate = _learning_rate(roles[name], settings)
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        group = groups.setdefault(
            (rate, decay), {"params": [], "names": [], "lr": rate, "weight_decay": decay}
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def _learning_rate(role: str, settings: GroupSettings) -> float:
    if settings.loraplus_ratio is not None and role == "lora_B":
        return settings.learning_rate * settings.loraplus_ratio
    return settings.learning_rate
