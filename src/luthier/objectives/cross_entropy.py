"""Cross-entropy over a linear head without ever holding all logits.

Shapes: `N` supervised tokens, `D` model width, `V` vocabulary, `C` tokens of a chunk.

The plain way materialises logits_NV, their log-softmax and its gradient: three arrays that dwarf
the rest of a small model's memory traffic. Here the head runs chunk by chunk, and each chunk's
logits become, in place, their own gradient while they are still in cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from luthier.models.even_rows import even_linear, even_outer, even_product

# Bounds a chunk's logits to 16 MiB in float32: small enough for a cache, large enough for a GPU.
CHUNK_LOGITS = 2**22


def compute_chunk_tokens(vocabulary: int) -> int:
    """Tokens of one chunk so that its logits hold at most CHUNK_LOGITS numbers."""
    return max(16, CHUNK_LOGITS // vocabulary)


def choose_compute_dtype(head: nn.Linear, hidden_ND: Tensor) -> torch.dtype:
    """What the head's product is computed in: autocast's type where it is on."""
    if torch.is_autocast_enabled(hidden_ND.device.type):
        return torch.get_autocast_dtype(hidden_ND.device.type)
    return head.weight.dtype


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of −log softmax(h Wᵀ + b)[target]; gradients are formed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        target_N: Tensor,
        compute_dtype: torch.dtype,
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        accurate = torch.promote_types(compute_dtype, torch.float32)
        total = hidden_ND.new_zeros((), dtype=accurate)
        # Sums over many chunks: bfloat16 would lose the small ones.
        grad_hidden = torch.empty_like(hidden_ND) if needs_hidden else None
        grad_weight = torch.zeros_like(weight_VD, dtype=accurate) if needs_weight else None
        grad_bias = None
        if needs_bias and bias_V is not None:
            grad_bias = torch.zeros_like(bias_V, dtype=accurate)
        head_VD = weight_VD.to(compute_dtype)
        offset_V = None if bias_V is None else bias_V.to(compute_dtype)
        step = compute_chunk_tokens(weight_VD.shape[0])
        for start in range(0, hidden_ND.shape[0], step):
            piece = slice(start, start + step)
            hidden_CD, target_C1 = hidden_ND[piece].to(compute_dtype), target_N[piece].unsqueeze(1)
            logits_CV = even_linear(hidden_CD, head_VD, offset_V).to(accurate)
            loss, gradient_CV = _loss_and_gradient(logits_CV, target_C1)
            total += loss
            if grad_bias is not None:
                grad_bias += gradient_CV.sum(0)
            gradient_CV = gradient_CV.to(compute_dtype)
            if grad_hidden is not None:
                grad_hidden[piece] = even_product(gradient_CV, head_VD)
            if grad_weight is not None and grad_weight.dtype == compute_dtype:
                grad_weight.addmm_(gradient_CV.T, hidden_CD)
            elif grad_weight is not None:
                grad_weight += even_outer(gradient_CV, hidden_CD)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        scale = outputs[0]
        grads = tuple(None if grad is None else grad.mul_(scale) for grad in ctx.saved_tensors)
        return (*grads, None, None)


class _Chunk(NamedTuple):
    loss: Tensor  # summed over the chunk
    gradient_CV: Tensor


def _loss_and_gradient(logits_CV: Tensor, target_C1: Tensor) -> _Chunk:
    """−log softmax(logits)[target], and softmax − one-hot in the logits' own memory."""
    chosen_C1 = logits_CV.gather(1, target_C1)
    peak_C1 = logits_CV.amax(1, keepdim=True)
    probability_CV = logits_CV.sub_(peak_C1).exp_()
    mass_C1 = probability_CV.sum(1, keepdim=True)
    loss = (mass_C1.log() + peak_C1 - chosen_C1).sum()
    gradient_CV = probability_CV.div_(mass_C1)
    gradient_CV.scatter_add_(1, target_C1, -torch.ones_like(chosen_C1))
    return _Chunk(loss, gradient_CV)


def sum_linear_cross_entropy(head: nn.Module, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
    """Sum over N of −log softmax(head(h))[target], in float32 (float64 for float64 input).

    Args:
        head: the language-model head, any module from (·, D) to (·, V).
        hidden_ND: hidden states of the supervised positions only.
        target_N: the token that each of them must predict.

    Returns:
        A scalar; divide by the supervised tokens of the whole optimizer step, not of this batch.
    """
    if type(head) is nn.Linear:
        dtype = choose_compute_dtype(head, hidden_ND)
        bias: Tensor | None = head.bias
        return _LinearCrossEntropy.apply(hidden_ND, head.weight, bias, target_N, dtype)  # type: ignore[no-any-return]
    return _sum_by_recomputing(head, hidden_ND, target_N)


def _sum_by_recomputing(head: nn.Module, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
    """The same for a head that is not a plain linear layer (an adapter on it, say)."""

    def loss_of_chunk(hidden_CD: Tensor, target_C: Tensor) -> Tensor:
        logits_CV = head(hidden_CD)
        if logits_CV.dtype != torch.float64:
            logits_CV = logits_CV.float()
        return functional.cross_entropy(logits_CV, target_C, reduction="sum")

    width = getattr(head, "out_features", None)
    step = compute_chunk_tokens(int(width)) if width else 1024
    total = torch.zeros((), device=hidden_ND.device)
    for start in range(0, hidden_ND.shape[0], step):
        piece = slice(start, start + step)
        total = total + checkpoint(
            loss_of_chunk, hidden_ND[piece], target_N[piece], use_reentrant=False
        )
    return total
