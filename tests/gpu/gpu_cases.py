"""Examples, and how far a result of lower precision may lie from the exact one.

A result in float32 or bfloat16 is not compared with another of the same precision, which is as
wrong as itself, but both with float64's: ours must not stray further than the reference does.

Shapes: `T` tokens of an example, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from verification.check import largest

from luthier.data.batches import TokenizedExample
from luthier.models.packed import PackedModel

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
LOWER = [torch.float32, torch.bfloat16]
# What rounding may cost at most, as a share of the whole; and what does not count. Families
# round norms, rotations and softmax to float32, in a float64 model too.
WORST = {torch.float64: 1e-5, torch.float32: 1e-4, torch.bfloat16: 0.2}
NOISE = {torch.float64: 2e-6, torch.float32: 4e-6, torch.bfloat16: 8e-3}

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="a GPU's own: there is none here"
)


def sum_loss_alone(model: Any, examples: Sequence[TokenizedExample]) -> Tensor:
    """The definition, example by example: −Σ log softmax(logits)[next token] where supervised."""
    total = torch.zeros((), dtype=torch.float64, device=model.device)
    for example in examples:
        ids = torch.from_numpy(example.input_ids.astype(np.int64)).to(model.device)
        kept = torch.from_numpy(np.flatnonzero(example.loss_mask[1:])).to(model.device)
        logits_TV = model(ids[None], use_cache=False).logits[0, kept]
        log_probs_TV = logits_TV.to(torch.promote_types(logits_TV.dtype, torch.float32))
        log_probs_TV = log_probs_TV.log_softmax(-1)
        total = total - log_probs_TV.gather(1, ids[kept + 1, None]).sum()
    return total


def take_attention(model: Any, attention: str) -> PackedModel:
    """The model over packed rows with this attention and no other."""
    packed = PackedModel(model, attention)
    if packed.attention != attention:
        packed.attention, packed.shares_prompts = attention, False
        model.set_attn_implementation(attention)
    return packed


def collect_gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def list_errors(found: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, float]:
    """The length of each tensor's error, as a share of the exact tensor's length.

    A tensor that is zero beside the others (a key's bias: softmax ignores it) is left out.
    """
    assert found.keys() == exact.keys()
    lengths = {name: float(tensor.detach().norm()) for name, tensor in exact.items()}
    whole = max(lengths.values())
    return {
        name: float((found[name].detach().double().cpu() - exact[name].detach().cpu()).norm())
        / length
        for name, length in lengths.items()
        if length > 1e-6 * whole
    }


def assert_no_further(
    ours: dict[str, float], theirs: dict[str, float], dtype: torch.dtype, factor: float = 2.0
) -> None:
    """Each of our errors is at most `factor` times theirs, noise aside, and none is large."""
    assert largest(ours.values()) < WORST[dtype], ours
    # The largest of theirs: which tensor rounding hits hardest is a matter of luck.
    limit = factor * largest(theirs.values()) + NOISE[dtype]
    worse = {name: (error, theirs[name]) for name, error in ours.items() if error > limit}
    assert not worse
