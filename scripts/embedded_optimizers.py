"""How the embedded model's weights move: Muon for the matrices, AdamW for the rest, one schedule.

Shapes: `G` matrices of one shape, `A` × `B` their rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Keller Jordan's coefficients
NEWTON_SCHULZ_STEPS = 5
WARMUP, DECAY = 0.02, 0.55  # shares of the training


def build_optimizers(
    model: nn.Module, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embeddings, norms and biases."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if p.ndim != 2 or "embed" in name]
    fused = others[0].is_cuda
    return [
        BatchedMuon(matrices, learning_rate, weight_decay),
        torch.optim.AdamW(
            others, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=fused
        ),
    ]


def learning_rate_factor(progress: float) -> float:
    """Warm up over 2%, hold, then fall linearly to zero over the last 55% (as a share of 1)."""
    if progress < WARMUP:
        return progress / WARMUP
    return min(1.0, (1.0 - progress) / DECAY)


class BatchedMuon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) with Moonlight's scale, all matrices of a shape at once.

    The numbers are those of `torch.optim.Muon(adjust_lr_fn="match_rms_adamw", nesterov=True)`,
    which takes one matrix after the other: for the 28 small matrices of this model some 600
    kernels a step, which a GPU spends longer starting than running (pytorch/pytorch#195566
    proposes the same for torch's own).
    """

    def __init__(
        self, params: list[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        assert closure is None
        for group in self.param_groups:
            self._step_group(group)

    def _step_group(self, group: dict[str, Any]) -> None:
        params: list[Tensor] = group["params"]
        grads = [param.grad for param in params]
        for param in params:
            if "momentum_buffer" not in self.state[param]:
                self.state[param]["momentum_buffer"] = torch.zeros_like(param)
        buffers = [self.state[param]["momentum_buffer"] for param in params]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, buffers, group["momentum"])
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        members: dict[tuple[int, int], list[int]] = {}
        for index, param in enumerate(params):
            rows, columns = param.shape
            members.setdefault((min(rows, columns), max(rows, columns)), []).append(index)
        for (_, longest), indices in members.items():
            stacked = torch.stack([_lie_flat(updates[index]) for index in indices])
            directions = [
                direction.mT if params[index].shape[0] > params[index].shape[1] else direction
                for index, direction in zip(indices, orthogonalize(stacked), strict=True)
            ]
            scale = -group["lr"] * 0.2 * math.sqrt(longest)  # an AdamW update's root mean square
            for index, direction in zip(indices, directions, strict=True):
                params[index].add_(direction, alpha=scale)


def _lie_flat(matrix: Tensor) -> Tensor:
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


def orthogonalize(update_GAB: Tensor) -> Tensor:
    """Each matrix with singular values near one, by a quintic Newton-Schulz iteration in bfloat16.

    Expects A ≤ B.
    """
    a, b, c = NEWTON_SCHULZ
    x_GAB = update_GAB.bfloat16()
    x_GAB = x_GAB / x_GAB.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram_GAA = x_GAB @ x_GAB.mT
        polynomial_GAA = torch.baddbmm(gram_GAA, gram_GAA, gram_GAA, beta=b, alpha=c)
        x_GAB = torch.baddbmm(x_GAB, polynomial_GAA, x_GAB, beta=a)
    return x_GAB
