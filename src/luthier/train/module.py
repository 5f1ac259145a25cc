"""Model, objective and embedding noise as one module: what accelerate wraps for many devices."""

from __future__ import annotations

from typing import Any

from torch import nn

from luthier.models.neftune import NeftuneNoise
from luthier.models.packed import PackedModel
from luthier.objectives.objective import LossShare, Objective, StepTotals


class TrainedModule(nn.Module):
    """batch and the step's totals → the batch's share of the loss."""

    def __init__(
        self,
        model: PackedModel,
        objective: Objective,
        noise: NeftuneNoise | None,
    ) -> None:
        super().__init__()
        self.model = model
        self._objective = objective
        self._noise = noise

    def forward(self, batch: Any, totals: StepTotals) -> LossShare:
        if self._noise is not None:
            self._noise.lengths = batch.lengths
        return self._objective(self.model, batch, totals)
