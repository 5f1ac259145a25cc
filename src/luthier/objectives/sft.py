"""Supervised fine-tuning: the negative log-likelihood of the supervised tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from luthier.data.batches import PackedBatch
from luthier.models.packed import PackedModel
from luthier.objectives.cross_entropy import sum_linear_cross_entropy
from luthier.objectives.objective import LossShare, Objective, StepTotals
from luthier.objectives.settings import ObjectiveSettings


def build_sft(_settings: ObjectiveSettings) -> Objective:
    return compute_sft_loss


def compute_sft_loss(model: PackedModel, batch: PackedBatch, totals: StepTotals) -> LossShare:
    """Mean negative log-likelihood in nats per supervised token of the optimizer step."""
    return LossShare(sum_sft_loss(model, batch) / totals.supervised_tokens, {})


def sum_sft_loss(model: PackedModel, batch: PackedBatch) -> Tensor:
    """Sum of −log p(token) in nats over the batch's supervised tokens; a scalar."""
    if model.head_is_plain:
        return sum_linear_cross_entropy(model.head, model.hidden_states(batch), batch.targets)
    logits_NV = model.logits(batch)
    accurate = torch.promote_types(logits_NV.dtype, torch.float32)
    return functional.cross_entropy(logits_NV.to(accurate), batch.targets, reduction="sum")
