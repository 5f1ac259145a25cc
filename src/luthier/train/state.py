"""Where a run stands: what the loop hands to checkpoints and progress."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple


class StepReport(NamedTuple):
    loss: float  # nats per supervised token, over the whole optimizer step
    learning_rate: float
    gradient_norm: float  # before clipping
    tokens: int
    supervised_tokens: int
    figures: dict[str, float]  # what the objective tells beside the loss


@dataclass(frozen=True)
class LoopState:
    """All that a resumed run must know beside weights and optimizer; saved with each checkpoint."""

    step: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0
    window_loss: float = 0.0  # summed since the last logged step
    window_figures: dict[str, float] = field(default_factory=dict[str, float])
    window_steps: int = 0
    last_loss: float = math.nan
    best_val_loss: float = math.inf
    last_val_loss: float | None = None
    evaluations_since_best: int = 0
    base: str | None = None  # where the frozen weights lie that restarts have merged into
