"""What one optimizer step computes and moves on one device.

Counted per micro-batch (T tokens) and per optimizer step:

    products    2·W·T forward; as much again for the gradient of what goes in, and once more for
                the gradient of the weight where it is trained; forward again with checkpointing
    attention   4·T·context·width/2 forward (causal), 2.5 times that backward
    head        2·V·h·T on the labelled tokens, twice or three times
    bytes       element-wise kernels, logits, weights read, quantised weights unpacked
    optimizer   bytes per trained weight; GaLore's projections and its decomposition
"""

from __future__ import annotations

from typing import NamedTuple

from luthier.plan.time.optimizer_work import count_optimizer_work
from luthier.plan.time.passes import (
    BACKWARD,
    adapter_numbers,
    layer_bytes,
    logits_bytes,
    score_bytes,
)
from luthier.plan.time.utilisation import BYTES, Precision
from luthier.plan.work.attention import forms_scores
from luthier.plan.work.trainable import list_adapted
from luthier.plan.work.workload import Workload
from luthier.recipe.resolve import quantised_bits

ATTENTION_BACKWARD = 2.5
# Kernels of one layer, forward, in transformers' code; an adapted or packed linear layer's beside.
GATED_KERNELS, PLAIN_KERNELS, ADAPTER_KERNELS, PACKED_KERNELS, DORA_KERNELS = 40, 25, 8, 3, 12
EXPERT_KERNELS = 10
# PEFT forms W + B·A and its norm in every forward pass: read, cast, add, square, sum.
MATERIALISED_NORM_BYTES = 30


class StepWork(NamedTuple):
    """The work of one optimizer step on one device.

    Attributes:
        product_flops: of linear layers, adapters and head.
        attention_flops: of the attention kernel.
        float32_flops: products that are float32 always: projections, DoRA's norm.
        svd_flops: of exact decompositions, spread over the steps between two.
        layer_bytes: of element-wise kernels and logits.
        weight_bytes: weights read for products, unpacked or cast.
        optimizer_bytes: gradients clipped, moments and weights moved.
        kernels: started by the processor.
    """

    product_flops: float
    attention_flops: float
    float32_flops: float
    svd_flops: float
    layer_bytes: float
    weight_bytes: float
    optimizer_bytes: float
    kernels: float


def count_step_work(workload: Workload, precision: Precision, shards: int) -> StepWork:
    """The work of one optimizer step.

    Args:
        precision: of products and activations.
        shards: devices that share the optimizer's work.
    """
    recipe = workload.recipe
    micro_batches = recipe.gradient_accumulation_steps
    batch = _count_micro_batch(workload, precision)
    optimizer = count_optimizer_work(workload, shards)
    dora = _dora_norm_flops(workload)
    return StepWork(
        batch.product_flops * micro_batches,
        batch.attention_flops * micro_batches,
        optimizer.projection_flops + dora,
        optimizer.svd_flops,
        batch.layer_bytes * micro_batches,
        batch.weight_bytes * micro_batches,
        optimizer.bytes,
        batch.kernels * micro_batches + optimizer.kernels,
    )


class ForwardWork(NamedTuple):
    """One forward pass over `tokens` tokens: flops of products and attention, bytes, kernels."""

    product_flops: float
    attention_flops: float
    layer_bytes: float
    kernels: float


def count_forward(workload: Workload, precision: Precision, tokens: float) -> ForwardWork:
    """A forward pass without head and adapters."""
    facts = workload.facts
    context = _context_tokens(workload)
    inside = facts.active_parameters - facts.vocabulary * facts.width
    attention_width = facts.heads * facts.head_width
    quantised = quantised_bits(workload.recipe) is not None
    moved = layer_bytes(facts, workload.engine, precision, quantised=quantised)
    scored = 1
    if forms_scores(workload.recipe, facts):
        scored = 2  # nothing of what the mask hides is left out
        row = workload.mean_tokens.value / workload.recipe.micro_batch_size
        moved += facts.heads * row * score_bytes(precision)
    kernels = GATED_KERNELS if facts.gated else PLAIN_KERNELS
    experts = max(linear.copies for linear in facts.linears)
    kernels += EXPERT_KERNELS * experts if experts > 1 else 0
    return ForwardWork(
        2.0 * inside * tokens,
        scored * 2.0 * facts.layers * tokens * context * attention_width,
        facts.layers * tokens * moved,
        facts.layers * kernels,
    )


def _context_tokens(workload: Workload) -> float:
    """Tokens of the examples that attention stays inside."""
    if workload.example_tokens.value:
        return workload.example_tokens.value
    return workload.mean_tokens.value / workload.recipe.micro_batch_size


class _MicroBatch(NamedTuple):
    product_flops: float
    attention_flops: float
    layer_bytes: float
    weight_bytes: float
    kernels: float


def _count_micro_batch(workload: Workload, precision: Precision) -> _MicroBatch:
    recipe, facts = workload.recipe, workload.facts
    tokens = workload.mean_tokens.value
    forward = count_forward(workload, precision, tokens)
    again = 1 if recipe.gradient_checkpointing else 0
    reference = 1 if _runs_reference(workload) else 0
    trained = 2 if recipe.adapter is None else 1
    passes = 1 + again + reference
    adapter = _count_adapters(workload, precision, tokens)
    labelled = tokens * (workload.supervised_share.value if workload.engine == "luthier" else 1.0)
    head = 2.0 * facts.vocabulary * facts.width * labelled
    weights = (facts.linear_weights + facts.vocabulary * facts.width) * BYTES[precision]
    return _MicroBatch(
        forward.product_flops * (passes + trained)
        + head * (1 + trained + reference)
        + adapter.flops * (passes + BACKWARD),
        forward.attention_flops * (passes + ATTENTION_BACKWARD),
        (forward.layer_bytes + adapter.bytes) * (passes + BACKWARD)
        + labelled * facts.vocabulary * logits_bytes(workload.engine),
        weights * (passes + trained)
        + _unpacked_bytes(workload, precision) * (passes + 1)
        + adapter.weight_bytes * (passes + 1),
        (forward.kernels + adapter.kernels) * (passes + BACKWARD),
    )


def _runs_reference(workload: Workload) -> bool:
    """Whether each step runs the reference model too; our own loop stores its answers instead."""
    recipe = workload.recipe
    if recipe.rl not in ("dpo", "ipo"):
        return False
    return workload.engine != "luthier" or not recipe.precompute_ref_log_probs


class _AdapterWork(NamedTuple):
    flops: float
    bytes: float
    weight_bytes: float
    kernels: float


def _count_adapters(workload: Workload, precision: Precision, tokens: float) -> _AdapterWork:
    """All adapters, forward."""
    recipe, rank = workload.recipe, workload.recipe.lora_r or 0
    # Dropout keeps the update a tensor of its own, as PEFT's layers always do.
    dropped = recipe.lora_dropout > 0 and workload.engine == "luthier"
    engine = "transformers" if dropped else workload.engine
    quantised = quantised_bits(recipe) is not None
    # Ours scales the weight's rows for each product; PEFT forms the whole sum and its norm.
    own = 2 * BYTES[precision]
    merged_bytes = own if workload.engine == "luthier" else MATERIALISED_NORM_BYTES
    total = _AdapterWork(0.0, 0.0, 0.0, 0.0)
    for linear, layers in list_adapted(recipe, workload.facts):
        active = layers * linear.active_copies
        numbers = layers * adapter_numbers(linear, engine, quantised=quantised)
        kernels, merged = ADAPTER_KERNELS, 0.0
        if recipe.peft_use_dora:
            numbers += active * 2 * linear.outputs
            kernels += DORA_KERNELS
            merged = layers * linear.weights * merged_bytes
        total = _AdapterWork(
            total.flops + active * 2.0 * rank * (linear.inputs + linear.outputs) * tokens,
            total.bytes + numbers * tokens * BYTES[precision],
            total.weight_bytes + merged,
            total.kernels + active * kernels,
        )
    return total


def _unpacked_bytes(workload: Workload, precision: Precision) -> float:
    """Bytes moved to make the weights of one pass ready: unpacked, or cast to the products'."""
    recipe, facts = workload.recipe, workload.facts
    bits = quantised_bits(recipe)
    if bits is not None:
        return facts.linear_weights * (bits / 8 + BYTES[precision])
    if recipe.adapter is None and workload.engine == "luthier" and precision == "bfloat16":
        return facts.parameters * (4 + 2)
    return 0.0


def _dora_norm_flops(workload: Workload) -> float:
    """DoRA's norm once per optimizer step: W·Aᵀ of each adapted layer."""
    recipe, facts = workload.recipe, workload.facts
    if not recipe.peft_use_dora or workload.engine != "luthier":
        return 0.0
    weights = sum(layers * linear.weights for linear, layers in list_adapted(recipe, facts))
    return 2.0 * weights * (recipe.lora_r or 0)
