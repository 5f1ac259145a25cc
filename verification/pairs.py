"""Preference pairs of random tokens, and what the definition says of them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.data.pairs import TokenizedPair
from verification.models import VOCABULARY, build_model

# prompt, common beginning of the answers, rest of chosen, rest of rejected
RAGGED = ((5, 0, 3, 6), (1, 0, 2, 1), (9, 4, 1, 5), (3, 2, 7, 1))


def make_pairs(shapes: tuple[tuple[int, ...], ...] = RAGGED, seed: int = 0) -> list[TokenizedPair]:
    generator = np.random.default_rng(seed)

    def draw(count: int) -> np.ndarray:
        return generator.integers(3, VOCABULARY, count).astype(np.int32)

    pairs: list[TokenizedPair] = []
    for number, (prompt, common, chosen, rejected) in enumerate(shapes):
        start = draw(common)
        answers = [np.concatenate([start, draw(rest)]) for rest in (chosen, rejected)]
        pairs.append(TokenizedPair(f"pair-{number}", draw(prompt), *answers))
    return pairs


def plain_log_probs(model: Any, prompt: np.ndarray, answer: np.ndarray) -> Tensor:
    """log p of every token after the first, (tokens − 1,), from the family's own logits."""
    ids = torch.from_numpy(np.concatenate([prompt, answer]).astype(np.int64))[None]
    log_probs = model(ids, use_cache=False).logits[0, :-1].log_softmax(-1)
    return log_probs.gather(1, ids[0, 1:, None])[:, 0]


def plain_sums(model: Any, pairs: list[TokenizedPair]) -> Tensor:
    """Σ log p(answer token), (S, 2): the definition."""
    return torch.stack(
        [
            torch.stack(
                [
                    plain_log_probs(model, pair.prompt_ids, answer)[
                        len(pair.prompt_ids) - 1 :
                    ].sum()
                    for answer in (pair.chosen_ids, pair.rejected_ids)
                ]
            )
            for pair in pairs
        ]
    )


def build_exact_model(family: str, **changes: Any) -> Any:
    """A random model whose norms do not round to float32 on the way, as transformers' own do."""
    model = build_model(family, **changes)
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = functools.partial(_normalise, module)
        if hasattr(module, "inv_freq"):
            # Angles are float32 in transformers; some versions take them as they are stored.
            module.inv_freq = module.inv_freq.to(torch.float32)
    return model


def _normalise(norm: Any, x: Tensor) -> Tensor:
    epsilon = getattr(norm, "variance_epsilon", None) or norm.eps
    offset = 1.0 if type(norm).__name__.startswith("Gemma") else 0.0
    return (norm.weight + offset) * x * (x.square().mean(-1, keepdim=True) + epsilon).rsqrt()
