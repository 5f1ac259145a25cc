"""Bytes of a model's weights, packed or not."""

from __future__ import annotations

from typing import NamedTuple

from luthier.plan.model.model_facts import Linear, ModelFacts

# bitsandbytes: 64 weights share a float32 scale; packed twice, that scale has 8 bits and 256 of
# them share a float32 one (QLoRA, section 3). In 8 bit a row shares a float32 scale.
SCALE_BLOCK, DOUBLE_BLOCK = 64, 256


class Packing(NamedTuple):
    """How the linear layers of a frozen base are packed."""

    bits: int
    double: bool = True
    experts: bool = False  # those of a mixture too, which newer libraries hold in one tensor


class WeightBytes(NamedTuple):
    """Bytes of a model's weights.

    Attributes:
        layers: of all transformer layers.
        root: of what is outside of them: embedding, head, last norm.
    """

    layers: float
    root: float

    @property
    def total(self) -> float:
        return self.layers + self.root


def measure_weights(
    facts: ModelFacts, bytes_each: float, packing: Packing | None = None
) -> WeightBytes:
    """Bytes of the weights where each takes `bytes_each`, those that are packed excepted."""
    layer = sum(_linear_bytes(linear, bytes_each, packing) for linear in facts.linears)
    inside = facts.bias_weights + facts.norm_weights - facts.width
    outside = facts.embedding_weights + facts.head_weights + facts.width
    return WeightBytes(
        layers=layer * facts.layers + inside * bytes_each,
        root=outside * bytes_each,
    )


def _linear_bytes(linear: Linear, bytes_each: float, packing: Packing | None) -> float:
    packed = packing is not None and (linear.is_module or (packing.experts and linear.copies > 1))
    if packing is None or not packed:
        return linear.weights * bytes_each
    if packing.bits == 8:
        return linear.weights + 4 * linear.outputs * linear.copies
    scales = linear.weights / SCALE_BLOCK
    scale_bytes = scales * (1 + 4 / DOUBLE_BLOCK) if packing.double else 4 * scales
    return linear.weights / 2 + scale_bytes
