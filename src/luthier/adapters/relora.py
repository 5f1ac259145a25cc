"""ReLoRA: merge the update into the frozen weight, begin it anew (Lialin et al. 2023, algorithm 1).

    W ← W + s·B A,  A ← drawn anew,  B ← 0

The sum of N parts may have N times the rank of one. With DoRA the row gains are merged too, and
the magnitude is the norm of the merged weight's rows again. The sum is formed in float32 or wider,
then cast to what the weight is held in.

Shapes: `I` input width, `O` output width, `R` rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from luthier.adapters.attach_lora import find_layers, merge_lora, untie_head
from luthier.adapters.attached import AttachedAdapter, MovingBase
from luthier.adapters.base_tensors import read_base, write_base
from luthier.adapters.lora import LoraLayer
from luthier.adapters.tensor_files import explained_tensor_errors
from luthier.models.quantize import QuantizedLinear

ROUNDING = "rounding of "  # heads the name of a figure among the weights


def make_restartable(model: Any, attached: AttachedAdapter) -> AttachedAdapter:
    """The LoRA adapter on `model` with a base that restarts change; its result is a full model."""
    layers = find_layers(model)
    if model.get_output_embeddings() in layers.values():
        untie_head(model)
    roundings = dict.fromkeys(layers, 0.0)

    def read() -> dict[str, Tensor]:
        tensors = {ROUNDING + name: torch.tensor(value) for name, value in roundings.items()}
        for name, layer in layers.items():
            for kind, tensor in read_base(layer).items():
                tensors[f"{name}.{kind}"] = tensor.cpu().contiguous()
        return tensors

    def write(tensors: Mapping[str, Tensor]) -> None:
        for name, layer in layers.items():
            roundings[name] = float(tensors[ROUNDING + name])
            own = f"{name}."
            write_base(
                layer, {key[len(own) :]: t for key, t in tensors.items() if key.startswith(own)}
            )

    @torch.no_grad()
    def restart(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, layer in layers.items():
            roundings[name] += merge_update(layer)
            begin_anew(layer, generator)

    @torch.no_grad()
    def save(folder: Path) -> None:
        for name, layer in layers.items():
            roundings[name] += measure_rounding(layer, _result_dtype(model, layer))
        merge_lora(model)
        with explained_tensor_errors(folder):
            model.save_pretrained(folder)

    base = MovingBase(read, write, restart, lambda: dict(roundings))
    return replace(attached, save=save, result="model", base=base)


@torch.no_grad()
def merge_update(layer: LoraLayer) -> float:
    """Add the layer's update into its frozen weight; returns what rounding it has cost.

    That is the largest singular value of (the weight as it is held now) − (the exact sum).
    """
    exact = _add_exactly(layer)
    layer.write_weight(exact.sum_OI.to(layer.weight_OI.dtype))
    held_OI = layer.read_weight(exact.sum_OI.dtype)
    return estimate_largest_singular_value(exact.lost_OI + (exact.sum_OI - held_OI))


@torch.no_grad()
def measure_rounding(layer: LoraLayer, dtype: torch.dtype) -> float:
    """What merging the layer and holding it in `dtype` would cost, as `merge_update` returns it."""
    exact = _add_exactly(layer)
    held_OI = exact.sum_OI.to(dtype).to(exact.sum_OI.dtype)
    return estimate_largest_singular_value(exact.lost_OI + (exact.sum_OI - held_OI))


class ExactSum(NamedTuple):
    sum_OI: Tensor  # rounded to float32 or wider
    lost_OI: Tensor  # the exact sum minus it


def _add_exactly(layer: LoraLayer) -> ExactSum:
    delta_OI = layer.compute_delta()
    before_OI = layer.read_weight(delta_OI.dtype)
    sum_OI = before_OI + delta_OI
    # Knuth's TwoSum: in float32 this is all that is lost, and float64 is not on every device.
    added_OI = sum_OI - before_OI
    lost_OI = (before_OI - (sum_OI - added_OI)) + (delta_OI - added_OI)
    return ExactSum(sum_OI, lost_OI)


@torch.no_grad()
def begin_anew(layer: LoraLayer, generator: torch.Generator) -> None:
    """Draw A as at the start of a run and set B to zero, in place."""
    # Drawn on the CPU: the same numbers on every device and in every process.
    fresh_RI = torch.empty(layer.lora_A.shape, dtype=layer.lora_A.dtype)
    nn.init.kaiming_uniform_(fresh_RI, a=math.sqrt(5), generator=generator)
    layer.lora_A.copy_(fresh_RI)
    layer.lora_B.zero_()
    if layer.magnitude is not None:
        layer.magnitude.copy_(layer.compute_norm())
    layer.refresh_norm()


def _result_dtype(model: Any, layer: LoraLayer) -> torch.dtype:
    """What the merged layer is held in: as `merge_lora` has it."""
    packed = isinstance(layer.base, QuantizedLinear)
    return model.dtype if packed else layer.weight.dtype


def estimate_largest_singular_value(matrix_OI: Tensor, rounds: int = 12) -> float:
    """By power iteration from a fixed start; a few percent too small at worst for noise."""
    generator = torch.Generator().manual_seed(0)
    start_I = torch.randn(matrix_OI.shape[1], generator=generator, dtype=torch.float32)
    vector_I = start_I.to(matrix_OI)
    norm = vector_I.new_zeros(())
    for _ in range(rounds):
        vector_I = vector_I / vector_I.norm().clamp(min=torch.finfo(vector_I.dtype).tiny)
        image_O = matrix_OI @ vector_I
        norm = image_O.norm()
        vector_I = matrix_OI.T @ (image_O / norm.clamp(min=torch.finfo(norm.dtype).tiny))
    return float(norm)
