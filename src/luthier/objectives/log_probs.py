"""log p of each label over a linear head, without ever holding all logits.

Shapes: `N` labels, `D` model width, `V` vocabulary, `C` labels of a chunk.

A preference loss weighs each label by what all of its pair's labels say, which is known only after
the head has run. With a frozen head that needs no second run: the gradient of log p[n] is a vector
in D whatever its weight, so that vector is kept, and scaled when the weight is known. A head that
is trained has one gradient for all labels, so there the logits are computed once more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from luthier.data.batches import PackedBatch
from luthier.models.even_rows import even_linear, even_outer, even_product
from luthier.models.packed import PackedModel
from luthier.objectives.cross_entropy import choose_compute_dtype, compute_chunk_tokens


def compute_label_log_probs(model: PackedModel, row: PackedBatch, branches: int = 0) -> Tensor:
    """log p of each label's token in nats, (N,) in float32 or wider, in the order of the labels."""
    if model.head_is_plain:
        return linear_log_probs(model.head, model.hidden_states(row, branches), row.targets)
    return _pick_log_probs(model.logits(row, branches), row.targets)


def linear_log_probs(head: nn.Module, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
    """log softmax(head(h))[target] of each row, (N,) in float32 (float64 for float64 input)."""
    if type(head) is nn.Linear:
        return _LinearLogProbs.apply(  # type: ignore[no-any-return]
            hidden_ND,
            head.weight,
            head.bias,
            target_N,
            choose_compute_dtype(head, hidden_ND),
            torch.is_grad_enabled(),
        )
    step = compute_chunk_tokens(int(getattr(head, "out_features", 4096)))

    def of_chunk(hidden_CD: Tensor, target_C: Tensor) -> Tensor:
        return _pick_log_probs(head(hidden_CD), target_C)

    # A head that is more than a linear layer (an adapter on it, say).
    chunks = zip(hidden_ND.split(step), target_N.split(step), strict=True)
    return torch.cat([checkpoint(of_chunk, h, t, use_reentrant=False) for h, t in chunks])


def _pick_log_probs(logits_NV: Tensor, target_N: Tensor) -> Tensor:
    accurate = torch.promote_types(logits_NV.dtype, torch.float32)
    return -functional.cross_entropy(logits_NV.to(accurate), target_N, reduction="none")


class _LinearLogProbs(torch.autograd.Function):
    """log softmax(h Wᵀ + b)[target]; its gradient is (one-hot − softmax) W for h."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        target_N: Tensor,
        compute_dtype: torch.dtype,
        differentiable: bool,
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        ctx.compute_dtype = compute_dtype
        ctx.recomputes = differentiable and (needs_weight or needs_bias)
        directions_ND = None
        if differentiable and needs_hidden and not ctx.recomputes:
            directions_ND = torch.empty_like(hidden_ND)
        accurate = torch.promote_types(compute_dtype, torch.float32)
        log_prob_N = hidden_ND.new_empty(hidden_ND.shape[0], dtype=accurate)
        log_mass_N = torch.empty_like(log_prob_N)
        head_VD = weight_VD.to(compute_dtype)
        offset_V = None if bias_V is None else bias_V.to(compute_dtype)
        for piece in _list_chunks(hidden_ND, weight_VD):
            hidden_CD, target_C1 = hidden_ND[piece].to(compute_dtype), target_N[piece, None]
            logits_CV = even_linear(hidden_CD, head_VD, offset_V).to(accurate)
            chosen_C1 = logits_CV.gather(1, target_C1)
            peak_C1 = logits_CV.amax(1, keepdim=True)
            probability_CV = logits_CV.sub_(peak_C1).exp_()
            mass_C1 = probability_CV.sum(1, keepdim=True)
            log_mass_C1 = mass_C1.log() + peak_C1
            log_mass_N[piece] = log_mass_C1[:, 0]
            log_prob_N[piece] = (chosen_C1 - log_mass_C1)[:, 0]
            if directions_ND is not None:
                gradient_CV = probability_CV.div_(-mass_C1)
                gradient_CV.scatter_add_(1, target_C1, torch.ones_like(chosen_C1))
                directions_ND[piece] = even_product(gradient_CV.to(compute_dtype), head_VD)
        if ctx.recomputes:
            ctx.save_for_backward(hidden_ND, weight_VD, bias_V, target_N, log_mass_N)
        else:
            ctx.save_for_backward(directions_ND)
        return log_prob_N

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_N = outputs[0]
        if ctx.recomputes:
            return (*_backward_through_head(ctx, grad_N), None, None, None)
        (directions_ND,) = ctx.saved_tensors
        scaled_ND = (directions_ND * grad_N.unsqueeze(1)).to(directions_ND.dtype)
        return scaled_ND, None, None, None, None, None


def _backward_through_head(
    ctx: Any, grad_N: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients for hidden states, weight and bias, from logits computed once more."""
    hidden_ND, weight_VD, bias_V, target_N, log_mass_N = ctx.saved_tensors
    needs_hidden, needs_weight, needs_bias, *_ = ctx.needs_input_grad
    # Sums over many chunks: bfloat16 would lose the small ones.
    accurate = log_mass_N.dtype
    grad_hidden = torch.empty_like(hidden_ND) if needs_hidden else None
    grad_weight = torch.zeros_like(weight_VD, dtype=accurate) if needs_weight else None
    grad_bias = None
    if needs_bias and bias_V is not None:
        grad_bias = torch.zeros_like(bias_V, dtype=accurate)
    head_VD = weight_VD.to(ctx.compute_dtype)
    offset_V = None if bias_V is None else bias_V.to(ctx.compute_dtype)
    for piece in _list_chunks(hidden_ND, weight_VD):
        hidden_CD, target_C1 = hidden_ND[piece].to(ctx.compute_dtype), target_N[piece, None]
        logits_CV = even_linear(hidden_CD, head_VD, offset_V).to(accurate)
        probability_CV = logits_CV.sub_(log_mass_N[piece, None]).exp_()
        gradient_CV = probability_CV.mul_(-grad_N[piece, None])
        gradient_CV.scatter_add_(1, target_C1, grad_N[piece, None])
        if grad_bias is not None:
            grad_bias += gradient_CV.sum(0)
        gradient_CV = gradient_CV.to(ctx.compute_dtype)
        if grad_hidden is not None:
            grad_hidden[piece] = even_product(gradient_CV, head_VD)
        if grad_weight is not None:
            grad_weight += even_outer(gradient_CV, hidden_CD)
    return grad_hidden, grad_weight, grad_bias


def _list_chunks(hidden_ND: Tensor, weight_VD: Tensor) -> list[slice]:
    step = compute_chunk_tokens(weight_VD.shape[0])
    return [slice(start, start + step) for start in range(0, hidden_ND.shape[0], step)]
