"""What an optimizer keeps of every trained weight, and what it needs for the length of a step.

Adam keeps two moments. In 8 bits 256 numbers share a float32 scale, small tensors and embeddings
stay in 32 (Dettmers et al. 2022, section 2). GaLore, Fira and APOLLO keep the moments of a
projected gradient: for a weight of m × n with m ≤ n, 2 · rank · n, and a projector of m · rank
unless it is drawn anew from its seed (GaLore: Zhao et al. 2024, table 1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from luthier.plan.memory.number_formats import Formats
from luthier.plan.memory.streams import find_stream
from luthier.plan.model.model_facts import Linear, ModelFacts
from luthier.recipe.resolve import Projection, resolve_projection
from luthier.recipe.schema import Recipe

SCALED_TOGETHER, SMALLEST_8_BIT = 256, 4096


class OptimizerBytes(NamedTuple):
    """Bytes of the optimizer.

    Attributes:
        state: kept between steps.
        temporary: more for the length of a step.
    """

    state: float
    temporary: float


def measure_optimizer_for_adapter(
    recipe: Recipe, tensors: Sequence[tuple[int, int]], *, on_cpu: bool
) -> OptimizerBytes:
    """For adapter weights, float32 as they always are.

    Args:
        tensors: (weights of one tensor, how many there are of it).
    """
    bits = 8 if recipe.optimizer.endswith("8bit") else 32
    state = sum(count * _moment_bytes(size, bits, 4) for size, count in tensors)
    weights = sum(size * count for size, count in tensors)
    largest = max((size for size, _ in tensors), default=0)
    return OptimizerBytes(state, _loop_bytes(recipe, 4 * weights, 4 * largest, on_cpu=on_cpu))


def measure_optimizer_for_model(
    recipe: Recipe, facts: ModelFacts, formats: Formats, *, on_cpu: bool
) -> OptimizerBytes:
    """For a model that is trained whole."""
    bits = 8 if recipe.optimizer.endswith("8bit") else 32
    projection = resolve_projection(recipe)
    master = formats.master * facts.parameters
    each = 4 if formats.master else formats.trained
    plain = _plain_tensors(facts)
    if projection is None:
        state = sum(
            count * _moment_bytes(size, 32 if embedding else bits, each)
            for size, count, embedding in (*plain, *_linear_tensors(facts))
        )
        largest = max(size for size, _, _ in (*plain, *_linear_tensors(facts)))
        temporary = _loop_bytes(recipe, each * facts.parameters, each * largest, on_cpu=on_cpu)
        # A float32 copy is moved by float32 gradients, which DeepSpeed makes for the step.
        return OptimizerBytes(state + master, temporary + master)
    state = sum(count * 2 * each * size for size, count, _ in plain)
    temporary = 0.0
    for linear in facts.linears:
        count = linear.copies * facts.layers
        if not linear.is_module or not is_projected(linear, facts, projection):
            state += count * 2 * each * linear.inputs * linear.outputs
            continue
        state += count * projected_state_bytes(linear, projection, bits, each)
        temporary = max(temporary, _projecting_bytes(linear, projection))
    if any(linear.bias for linear in facts.linears):
        state += 2 * each * facts.bias_weights
    return OptimizerBytes(state + master, temporary)


def projected_state_bytes(
    linear: Linear, projection: Projection, bits: int, bytes_each: int
) -> float:
    """Bytes kept of one projected weight: projector and moments."""
    rows, columns = linear.outputs, linear.inputs
    rank = min(projection.rank, rows, columns)
    left, right = _sides(rows, columns, projection.proj_type)
    moments = (rank if left else rows) * (rank if right else columns)
    drawn = projection.proj == "random"
    projector = 0 if drawn else rank * ((rows if left else 0) + (columns if right else 0))
    return bytes_each * projector + _moment_bytes(moments, bits, bytes_each)


def is_projected(linear: Linear, facts: ModelFacts, projection: Projection) -> bool:
    """Whether the optimizer projects this layer's gradient; all where no names are given."""
    if projection.target_modules is None:
        return True
    attention = find_stream(linear, facts).startswith("attention")
    part = ("self_attn", "attention", "attn") if attention else ("mlp",)
    names = [f".layers.0.{name}.{linear.name}." for name in part]
    return any(
        f".{target}." in name or re.fullmatch(target, name.strip(".")) or target in name
        for name in names
        for target in projection.target_modules
    )


def _sides(rows: int, columns: int, side: str) -> tuple[bool, bool]:
    tall = rows >= columns
    named = {"left": (True, False), "right": (False, True), "full": (True, True)}
    if side in named:
        return named[side]
    return (not tall, tall) if side == "std" else (tall, not tall)


def _moment_bytes(weights: int, bits: int, bytes_each: int) -> float:
    if bits == 32 or weights < SMALLEST_8_BIT:
        return 2 * (4 if bits == 8 else bytes_each) * weights
    return 2 * (weights + 4 * weights / SCALED_TOGETHER)


def _loop_bytes(recipe: Recipe, all_bytes: float, largest: float, *, on_cpu: bool) -> float:
    """`adamw_torch` forms a denominator for each weight: for all at once on a GPU."""
    if recipe.optimizer != "adamw_torch":
        return 0
    return largest if on_cpu else all_bytes


def _projecting_bytes(linear: Linear, projection: Projection) -> float:
    """The float32 workspace where one weight's projector is found anew."""
    short, long = sorted((linear.inputs, linear.outputs))
    if projection.proj == "random":
        return 4 * projection.rank * (long + short)
    if projection.svd == "randomized":
        return 4 * 3 * (projection.rank + 8) * (long + short)
    # The copy that LAPACK overwrites, both sides' vectors, and its own work area.
    return 4 * (2 * short * long + 3 * short * short)


def _plain_tensors(facts: ModelFacts) -> list[tuple[int, int, bool]]:
    """(weights of one tensor, how many, whether an embedding) outside the linear layers."""
    norms = max(1, round(facts.norm_weights / facts.width))
    tensors = [(facts.vocabulary * facts.width, 1, True), (facts.width, norms, False)]
    if facts.positions:
        tensors.append((facts.positions * facts.width, 1, True))
    if not facts.tied_head:
        tensors.append((facts.vocabulary * facts.width, 1, False))
    return tensors


def _linear_tensors(facts: ModelFacts) -> list[tuple[int, int, bool]]:
    found = [
        (linear.inputs * linear.outputs, linear.copies * facts.layers, False)
        for linear in facts.linears
    ]
    found += [
        (linear.outputs, linear.copies * facts.layers, False)
        for linear in facts.linears
        if linear.bias
    ]
    return found
