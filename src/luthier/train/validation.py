"""The loss on held-out examples while training."""

from __future__ import annotations

from typing import Any

import torch

from luthier.data.batches import PackedBatch


@torch.no_grad()
def compute_validation_loss(accelerator: Any, module: Any, batches: list[PackedBatch]) -> float:
    """Mean negative log-likelihood in nats per supervised token over all of `batches`."""
    module.eval()
    total = torch.zeros(2, device=accelerator.device, dtype=torch.float64)
    for batch in batches[accelerator.process_index :: accelerator.num_processes]:
        total[0] += module(batch.to(accelerator.device)).double()
        total[1] += len(batch.targets)
    module.train()
    loss, tokens = accelerator.reduce(total, "sum").tolist()
    return loss / tokens
