"""Bytes that the element-wise part of a layer moves, by the kernels that each training loop has.

A kernel reads its inputs from memory and writes its outputs back, so a layer's norms, rotations
and activations cost bytes, not operations. Counted from the code of transformers' Llama (one
kernel an operation) and of the fused kernels that take its place. All figures are numbers moved
per token, forward; backward moves twice as many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from luthier.plan.model.model_facts import Linear, ModelFacts
from luthier.plan.time.utilisation import BYTES, Precision
from luthier.plan.work.engines import ENGINES
from luthier.plan.work.workload import Engine


class _Kernels(NamedTuple):
    """Numbers moved for each number of the named width."""

    norm: float  # of the hidden state, one norm
    rotation: float  # of queries and keys
    logits: float  # of the vocabulary, forward and backward together, in bytes
    adapter_in: float
    adapter_out: float


# RMSNorm in bfloat16 goes through float32 and back, five kernels: 18 numbers of 2 bytes.
_KERNELS: Mapping[Engine, _Kernels] = {
    "luthier": _Kernels(18, 10, 42, 1, 2),
    "transformers": _Kernels(18, 10, 40, 5, 7),
    "accelerated-peft": _Kernels(18, 10, 40, 5, 7),
    "fused-loss": _Kernels(4, 2, 12, 5, 7),
    "liger": _Kernels(4, 2, 12, 5, 7),
}
# In float32 the same norm has no casts.
_FLOAT32_NORM = 7
# LayerNorm is one kernel everywhere.
_LAYER_NORM = 4
_RESIDUALS = 2 * 3
# A gated activation and its product; a plain one is one kernel, but that of GPT-2 and GPT-Neo is
# put together from eight (transformers' NewGELUActivation).
_GATED_ACTIVATION, _PLAIN_ACTIVATION = 5, 2
_PIECED_ACTIVATION: Mapping[str, float] = {"gpt2": 18, "gpt_neo": 18}
# A mixture gathers each token for its experts, weighs and adds what they return.
_MIXTURE_PER_COPY, _MIXTURE = 4, 6
# The fused LoRA kernels for a quantised base (unsloth's, fms-acceleration's "foak").
_FUSED_ADAPTER = (1, 2)
BACKWARD = 2


def layer_bytes(
    facts: ModelFacts, engine: Engine, precision: Precision, *, quantised: bool
) -> float:
    """Bytes moved per token and layer, forward, without adapters."""
    # Norms that were made float32 for a quantised base give float32 hidden states.
    wide = quantised and ENGINES[engine].hidden_in_float32
    number = BYTES["float32" if wide else precision]
    return _layer_numbers(facts, engine, precision) * number


def _layer_numbers(facts: ModelFacts, engine: Engine, precision: Precision) -> float:
    kernels = _KERNELS[engine]
    norm = kernels.norm if facts.gated else _LAYER_NORM
    if precision == "float32":
        norm = min(norm, _FLOAT32_NORM)
    rotated = (facts.heads + facts.kv_heads) * facts.head_width if facts.positions == 0 else 0
    copies = max(linear.active_copies for linear in facts.linears)
    experts = max(linear.copies for linear in facts.linears)
    plain = _PIECED_ACTIVATION.get(facts.family, _PLAIN_ACTIVATION)
    activation = _GATED_ACTIVATION if facts.gated else plain
    numbers = (2 * norm + _RESIDUALS) * facts.width + kernels.rotation * rotated
    numbers += activation * facts.ffn_width * copies
    if experts > 1:
        numbers += (_MIXTURE_PER_COPY * copies + _MIXTURE) * facts.width
    return numbers


def score_bytes(precision: Precision) -> float:
    """Bytes moved for each attention score that is formed, forward.

    It is written, scaled, masked, put through softmax in float32, cast back, read for the values
    (transformers' `eager_attention_forward`).
    """
    number = BYTES[precision]
    casts = 8 if precision == "bfloat16" else 0
    return 8 * number + casts


def adapter_numbers(target: Linear, engine: Engine, *, quantised: bool) -> float:
    """Numbers moved per token by the adapter of one linear layer, forward."""
    kernels = _KERNELS[engine]
    into, out = kernels.adapter_in, kernels.adapter_out
    if quantised and engine in ("fused-loss", "liger"):
        into, out = _FUSED_ADAPTER
    return (into * target.inputs + out * target.outputs) * target.active_copies


def logits_bytes(engine: Engine) -> float:
    """Bytes moved for each logit, forward and backward together."""
    return _KERNELS[engine].logits
