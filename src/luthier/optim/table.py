"""The table of optimizers: a recipe's `optimizer` → what builds it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from luthier.models.quantize import import_bitsandbytes
from luthier.optim.adamw import build_adamw, build_fused_adamw
from luthier.optim.apollo import apply_apollo
from luthier.optim.fira import apply_fira
from luthier.optim.galore import apply_galore
from luthier.optim.projected import ProjectedAdamW, Rule
from luthier.optim.settings import AdamSettings, Groups, OptimizerSettings

Build = Callable[[Groups, OptimizerSettings], torch.optim.Optimizer]


def build_plain(build: Callable[[Groups, AdamSettings], torch.optim.Optimizer]) -> Build:
    """The builder of an optimizer that needs Adam's constants only."""
    return lambda groups, settings: build(groups, settings.adam)


def build_adamw_8bit(groups: Groups, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """8-bit AdamW; bitsandbytes is imported only where it is used."""
    import_bitsandbytes()  # quietly
    from luthier.optim.adamw_8bit import build_adamw_8bit as build

    return build(groups, settings)


def build_projected(rule: Rule, bits: int = 32) -> Build:
    """The builder of an optimizer with low-rank moments."""

    def build(groups: Groups, settings: OptimizerSettings) -> torch.optim.Optimizer:
        assert settings.projection is not None
        return ProjectedAdamW(groups, rule, settings.adam, settings.projection, bits=bits)

    return build


def build_apollo_mini(groups: Groups, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """APOLLO at rank 1 with one factor a tensor (section 4.3 of its paper)."""
    assert settings.projection is not None
    mini = settings.projection._replace(rank=1, scaling="tensor")
    return ProjectedAdamW(groups, apply_apollo, settings.adam, mini)


OPTIMIZERS: dict[str, Build] = {
    "adamw_torch": build_plain(build_adamw),
    "adamw_torch_fused": build_plain(build_fused_adamw),
    "adamw_bnb_8bit": build_adamw_8bit,
    "galore_adamw": build_projected(apply_galore),
    "galore_adamw_8bit": build_projected(apply_galore, bits=8),
    "apollo_adamw": build_projected(apply_apollo),
    "apollo_adamw_8bit": build_projected(apply_apollo, bits=8),
    "apollo_mini_adamw": build_apollo_mini,
    "fira_adamw": build_projected(apply_fira),
    "fira_adamw_8bit": build_projected(apply_fira, bits=8),
}
