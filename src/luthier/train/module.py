"""Model, objective and embedding noise as one module: what accelerate wraps for many devices."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from luthier.data.batches import PackedBatch
from luthier.models.neftune import NeftuneNoise
from luthier.models.packed import PackedModel


class TrainedModule(nn.Module):
    """batch → the objective's summed loss."""

    def __init__(
        self,
        model: PackedModel,
        sum_loss: Callable[[PackedModel, PackedBatch], Tensor],
        noise: NeftuneNoise | None,
    ) -> None:
        super().__init__()
        self.model = model
        self._sum_loss = sum_loss
        self._noise = noise

    def forward(self, batch: PackedBatch) -> Tensor:
        if self._noise is not None:
            self._noise.lengths = batch.lengths
        return self._sum_loss(self.model, batch)
