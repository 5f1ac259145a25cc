"""What the head and the loss hold at the end of the forward pass."""

from __future__ import annotations

from luthier.plan.memory.number_formats import Formats
from luthier.plan.model.model_facts import ModelFacts
from luthier.plan.work.engines import EngineTraits

# Numbers in the logits of one chunk of our head (objectives/cross_entropy.py).
CHUNK_LOGITS = 2**22

# Families whose logits are squeezed through tanh: they cannot be formed in chunks, and besides
# tanh's result hold log-softmax and two gradients in float32.
CAPPED = frozenset({"gemma2"})


def measure_logits(
    facts: ModelFacts,
    formats: Formats,
    traits: EngineTraits,
    *,
    tokens: float,
    labels: float,
    head_trained: bool,
) -> float:
    """Bytes at the end of the forward pass beyond what the layers keep.

    Args:
        tokens: of the micro-batch.
        labels: those of them that carry one.
        head_trained: the head's weight has a gradient, which a chunked head sums up here.
    """
    h, b = facts.width, formats.compute
    last_norm = (formats.hidden if traits.fused_norms else 4) * h + b * h
    if traits.logit_bytes:
        return tokens * (last_norm + traits.logit_bytes * facts.vocabulary)
    seen = labels if traits.labelled_only else tokens
    if facts.family in CAPPED:
        return tokens * last_norm + seen * (12 + b) * facts.vocabulary
    chunk = min(seen, max(16, CHUNK_LOGITS // facts.vocabulary)) * facts.vocabulary
    # A chunk's logits in float32 and as they came, or as their gradient; that of what went in.
    held = chunk * (4 if b == 4 else 4 + b) + seen * b * h
    held += (seen if traits.labelled_only else tokens) * last_norm
    if head_trained:
        # Summed in float32; below float32 each chunk's share is a product of its own.
        head = facts.vocabulary * h
        held += head * (4 if b == 4 else 4 + b + (b if formats.copies_weights else 0))
    return held
