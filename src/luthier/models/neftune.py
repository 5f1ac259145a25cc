"""NEFTune: uniform noise on the input embeddings while training (Jain et al. 2023, algorithm 1).

    X ← X + α/√(L·d) · ε,   ε ~ U(−1, 1)

L is the true length of that example, not of the padded or packed row, and d the model's width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class NeftuneNoise:
    """A forward hook on the input embeddings; off in evaluation mode.

    `lengths` must name the examples of the row before each forward pass.
    """

    def __init__(self, model: Any, alpha: float) -> None:
        self.alpha = alpha
        self.lengths: tuple[int, ...] = ()
        embeddings: nn.Module = model.get_input_embeddings()
        embeddings.register_forward_hook(self._add_noise)

    def _add_noise(self, module: nn.Module, _inputs: object, embedded_1TD: Tensor) -> Tensor:
        if not module.training:
            return embedded_1TD
        # A row may be filled up beyond its examples (models/even_rows.py).
        tokens = sum(self.lengths)
        noise_1TD = draw_noise(self.lengths, embedded_1TD[:, :tokens], self.alpha)
        return embedded_1TD + functional.pad(noise_1TD, (0, 0, 0, embedded_1TD.shape[1] - tokens))


def draw_noise(lengths: tuple[int, ...], like_1TD: Tensor, alpha: float) -> Tensor:
    """Noise (1, T, D), each example of the packed row with its own magnitude α/√(L·D)."""
    width = like_1TD.shape[-1]
    magnitude_T1 = torch.repeat_interleave(
        torch.tensor([alpha / math.sqrt(n * width) for n in lengths], dtype=torch.float32),
        torch.tensor(lengths),
        output_size=sum(lengths),
    ).to(like_1TD.device)[:, None]
    noise_1TD = torch.empty_like(like_1TD, dtype=torch.float32).uniform_(-1, 1)
    return (noise_1TD * magnitude_T1).to(like_1TD.dtype)
