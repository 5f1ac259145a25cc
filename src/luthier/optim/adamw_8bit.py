"""AdamW with block-wise 8-bit moments (Dettmers et al. 2022): bitsandbytes' own class."""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.optim import AdamW8bit

from luthier.optim.settings import Groups, OptimizerSettings


class PartlyPreciseAdamW8bit(AdamW8bit):
    """bitsandbytes' AdamW8bit that keeps 32-bit moments for the parameters in `precise`.

    bitsandbytes has a register for this, but one for the whole process, by the address of a tensor.
    """

    precise: frozenset[int] = frozenset()

    def get_config(self, gindex: int, pindex: int, group: dict[str, Any]) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config(gindex, pindex, group)  # pyright: ignore
        if id(self.param_groups[gindex]["params"][pindex]) in self.precise:
            config["optim_bits"] = 32
        return config


def build_adamw_8bit(groups: Groups, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """8-bit AdamW, on CPU and GPU; tensors below 4096 elements keep 32-bit moments."""
    adam = settings.adam
    optimizer = PartlyPreciseAdamW8bit(
        [{key: value for key, value in group.items() if key != "names"} for group in groups],
        betas=(adam.beta1, adam.beta2),
        eps=adam.epsilon,
    )
    optimizer.precise = frozenset(
        id(parameter)
        for group in groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        if name in settings.embeddings
    )
    return optimizer
