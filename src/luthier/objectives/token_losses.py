"""The loss of every supervised token, for evaluation.

Shapes: `N` supervised tokens, `D` model width, `V` vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from luthier.data.batches import PackedBatch
from luthier.models.packed import PackedModel
from luthier.objectives.cross_entropy import compute_chunk_tokens


@torch.no_grad()
def compute_token_losses(model: PackedModel, batch: PackedBatch) -> Tensor:
    """−log p of each supervised token in nats, (N,) float32, in the order of the batch."""
    if not model.head_is_plain:
        logits_NV = model.logits(batch).float()
        return functional.cross_entropy(logits_NV, batch.targets, reduction="none")
    hidden_ND = model.hidden_states(batch)
    step = compute_chunk_tokens(model.causal.get_input_embeddings().num_embeddings)
    losses = [
        functional.cross_entropy(model.head(hidden).float(), targets, reduction="none")
        for hidden, targets in zip(hidden_ND.split(step), batch.targets.split(step), strict=True)
    ]
    return torch.cat(losses)
