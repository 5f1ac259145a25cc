"""The loss on held-out examples while training."""

from __future__ import annotations

from typing import Any

import torch

from luthier.data.batches import PackedBatch


@torch.no_grad()
def compute_validation_loss(accelerator: Any, module: Any, batches: list[PackedBatch]) -> float:
    """Mean negative log-likelihood in nats per supervised token over all of `batches`."""
    module.eval()
    # Processes may hold unequal numbers of batches: none may wait for another in its forward pass.
    alone = accelerator.unwrap_model(module)
    loss, tokens = 0.0, 0
    for batch in batches[accelerator.process_index :: accelerator.num_processes]:
        loss += float(alone(batch.to(accelerator.device)))
        tokens += len(batch.targets)
    module.train()
    if accelerator.num_processes > 1:
        total = torch.tensor([loss, tokens], device=accelerator.device, dtype=torch.float64)
        loss, tokens = accelerator.reduce(total, "sum").tolist()
    return loss / tokens
