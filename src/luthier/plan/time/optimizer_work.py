"""Bytes and operations of an optimizer's own step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from luthier.plan.model.model_facts import Linear
from luthier.plan.work.workload import Workload
from luthier.recipe.resolve import Projection, resolve_projection

# Numbers moved per trained weight. Fused: weight, gradient and both moments read, all but the
# gradient written. One kernel an operation (`adamw_torch`): decay 2, first moment 3, second 5,
# root 2, division 2, ε 2, update 5.
FUSED_NUMBERS, FOREACH_NUMBERS = 7, 21
# Clipping reads all gradients for their norm, then scales them.
CLIP_NUMBERS = 3
# 8-bit moments are read and written, the weight too, the gradient read.
MOMENTS_8BIT_BYTES, NUMBERS_8BIT = 4, 3
# Of a projected weight: gradient read to project, update added to the weight, and for Fira and
# APOLLO the gradient scaled.
PROJECTED_NUMBERS, SCALED_NUMBERS = 4, 4
# Thin singular value decomposition of m × n, m ≥ n (Golub & Van Loan, R-SVD).
SVD_TALL, SVD_SQUARE = 6, 20
KERNELS_PER_PROJECTED_WEIGHT = 15
# A randomised decomposition: two power iterations on r + 8 columns, there and back.
RANDOMISED_PASSES, OVERSAMPLING = 6, 8


class OptimizerWork(NamedTuple):
    """Of one optimizer step on one device.

    Attributes:
        bytes: moved.
        projection_flops: float32 products of a projecting optimizer.
        svd_flops: of exact decompositions, spread over the steps between two.
        kernels: started.
    """

    bytes: float
    projection_flops: float
    svd_flops: float
    kernels: float


def weight_number_bytes(workload: Workload) -> int:
    """Bytes of a trained weight: our own loop keeps float32 always, others a full model's bf16."""
    own = workload.engine == "luthier" or workload.recipe.adapter is not None
    return 4 if own or workload.recipe.bf16 is False else 2


def count_optimizer_work(workload: Workload, shards: int) -> OptimizerWork:
    """What the optimizer moves and computes in one step.

    Args:
        shards: devices that share its work.
    """
    recipe, trained = workload.recipe, workload.trainable / shards
    number = weight_number_bytes(workload)
    clip = CLIP_NUMBERS * number if recipe.max_grad_norm > 0 else 0
    projection = resolve_projection(recipe)
    if projection is not None:
        return _count_projected(workload, projection, clip, shards)
    match recipe.optimizer:
        case "adamw_torch_fused":
            moved = FUSED_NUMBERS * number
        case "adamw_bnb_8bit":
            moved = NUMBERS_8BIT * number + MOMENTS_8BIT_BYTES
        case _:
            moved = FOREACH_NUMBERS * number
    return OptimizerWork(trained * (moved + clip), 0.0, 0.0, 50)


def _count_projected(
    workload: Workload, projection: Projection, clip: int, shards: int
) -> OptimizerWork:
    facts, number = workload.facts, weight_number_bytes(workload)
    targets = list_projected(projection, facts.linears)
    projected = facts.layers * sum(target.weights for target in targets)
    plain = max(0, workload.trainable - projected)
    numbers = PROJECTED_NUMBERS + (0 if projection.family == "galore" else SCALED_NUMBERS)
    low = facts.layers * sum(
        min(projection.rank, t.inputs, t.outputs) * max(t.inputs, t.outputs) * t.copies
        for t in targets
    )
    per_step = projections_per_step(workload)
    flops = svd = 0.0
    for target in targets:
        long, short = max(target.inputs, target.outputs), min(target.inputs, target.outputs)
        count, rank = facts.layers * target.copies, min(projection.rank, short)
        flops += count * 4.0 * long * short * rank
        if projection.proj == "random":
            continue
        if projection.svd == "exact":
            svd += count * (SVD_TALL * long * short**2 + SVD_SQUARE * short**3)
        else:
            passes = RANDOMISED_PASSES * 2.0 * long * short * (rank + OVERSAMPLING)
            flops += count * passes * per_step
    moved = (plain * FUSED_NUMBERS + projected * numbers + low * FUSED_NUMBERS) * number
    moved += clip * workload.trainable
    matrices = facts.layers * sum(target.copies for target in targets)
    return OptimizerWork(
        moved / shards,
        flops / shards,
        svd * per_step / shards,
        matrices * KERNELS_PER_PROJECTED_WEIGHT,
    )


def projections_per_step(workload: Workload) -> float:
    """New projections in an average step: one in the first, then one after every gap."""
    projection = resolve_projection(workload.recipe)
    if projection is None:
        return 0.0
    steps = max(1.0, workload.optimizer_steps.value)
    return math.ceil(steps / projection.update_proj_gap) / steps


def list_projected(projection: Projection, linears: Sequence[Linear]) -> list[Linear]:
    """The kinds of linear layer whose gradient is projected: all when none is named."""
    if projection.target_modules is None:
        return list(linears)
    endings = {name.rpartition(".")[2] for name in projection.target_modules}
    return [linear for linear in linears if linear.name in endings]
