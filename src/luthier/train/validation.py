"""The loss on held-out examples while training."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from luthier.objectives.objective import LOSS, StepTotals, add_share


class ValidationData(NamedTuple):
    """Held-out batches, and what their loss is a mean over."""

    batches: list[Any]
    totals: StepTotals


class ValidationResult(NamedTuple):
    loss: float
    figures: dict[str, float]  # what the objective tells beside the loss


@torch.no_grad()
def validate(accelerator: Any, module: Any, data: ValidationData) -> ValidationResult:
    """The objective's loss and figures over all of `data`, as if it were one batch."""
    module.eval()
    alone = accelerator.unwrap_model(module)
    sums: dict[str, Tensor] = {}
    for number in range(0, len(data.batches), accelerator.num_processes):
        # One that has nothing left repeats the first batch with weight zero.
        place = number + accelerator.process_index
        counts = place < len(data.batches)
        batch = data.batches[place if counts else 0].to(accelerator.device)
        add_share(sums, alone(batch, data.totals), counts)
    module.train()
    figures = {name: float(accelerator.reduce(value, "sum")) for name, value in sums.items()}
    return ValidationResult(figures.pop(LOSS), figures)
