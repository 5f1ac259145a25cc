"""ReLoRA: merge the update into the frozen weight, begin it anew (Lialin et al. 2023, algorithm 1).

    W ← W + s·B A,  A ← drawn anew,  B ← 0

The sum of N parts may have N times the rank of one. With DoRA the row gains are merged too, and
the magnitude is the norm of the merged weight's rows again.

On a base that is quantised or bfloat16 the sum is formed with the weight in float32, which lies in
the computer's memory from the first restart on, and rounded anew. Adding to the rounded weight
instead would lose the update: each weight then stands on one of its 16 values (or 8-bit mantissas),
a small change leaves the nearest one the same, and what a part has learnt is gone after its
restart. The result on a quantised base is the last packed weight, unpacked, with the last part's
update: the model that was trained and validated. On a bfloat16 base it is the float32 sum, rounded.

Shapes: `I` input width, `O` output width, `R` rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from luthier.adapters.attach_lora import find_layers, merge_lora, replace_module, untie_head
from luthier.adapters.attached import AttachedAdapter, MovingBase
from luthier.adapters.lora import LoraLayer
from luthier.adapters.tensor_files import explained_tensor_errors
from luthier.device import exact_products
from luthier.models.quantize import QuantizedLinear

ROUNDING = "rounding of "  # heads the name of a figure among the weights


def make_restartable(
    model: Any, attached: AttachedAdapter, load_full: Callable[[], Any]
) -> AttachedAdapter:
    """The LoRA adapter on `model` with a base that restarts change; its result is a full model.

    Args:
        load_full: loads the base model that `model` is, unpacked and in float32; called at the
            first restart on a base that is quantised or narrower than float32.
    """
    layers = find_layers(model)
    if model.get_output_embeddings() in layers.values():
        untie_head(model)
    weights = FullWeights(layers, load_full)
    roundings = dict.fromkeys(layers, 0.0)

    def read() -> dict[str, Tensor]:
        tensors = {ROUNDING + name: torch.tensor(value) for name, value in roundings.items()}
        for name in layers:
            tensors[name] = weights.read(name).detach().cpu().contiguous()
        return tensors

    def write(tensors: Mapping[str, Tensor]) -> None:
        for name in layers:
            roundings[name] = float(tensors[ROUNDING + name])
            weights.write(name, tensors[name])

    def restart(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, layer in layers.items():
            merged = merge_exactly(weights.read(name), layer.compute_delta())
            roundings[name] += merged.rounding
            weights.write(name, merged.weight_OI)
            begin_anew(layer, generator)

    def save(folder: Path) -> None:
        for name, layer in layers.items():
            merged = merge_exactly(weights.read(name), layer.compute_delta())
            roundings[name] += merged.rounding
            weights.remember(name, merged.weight_OI)
            if weights.is_narrow(name):
                layer.write_weight(merged.weight_OI)
                replace_module(model, name, layer.base)
        merge_lora(model)
        with explained_tensor_errors(folder):
            model.save_pretrained(folder)

    base = MovingBase(read, write, restart, weights.read, lambda: dict(roundings))
    return replace(attached, save=save, result="model", base=base)


class FullWeights:
    """The frozen weight of each layer in full precision, (O, I): the layer's own, or where that is
    packed or bfloat16 a copy in the computer's memory, which the layer's own is rounded from."""

    def __init__(self, layers: Mapping[str, LoraLayer], load_full: Callable[[], Any]) -> None:
        self._layers = layers
        self._load_full = load_full
        self._copies: dict[str, Tensor] = {}

    def read(self, name: str) -> Tensor:
        if not self._is_rounded(name):
            return self._layers[name].weight_OI
        if not self._copies:
            full = self._load_full()
            rounded = [name for name in self._layers if self._is_rounded(name)]
            self._copies = {name: widen(read_weight(full, name)) for name in rounded}
        return self._copies[name].to(self._layers[name].lora_A.device)

    def write(self, name: str, weight_OI: Tensor) -> None:
        self.remember(name, weight_OI)
        self._layers[name].write_weight(weight_OI.to(self._layers[name].lora_A.device))

    def remember(self, name: str, weight_OI: Tensor) -> None:
        """Keep it for the next `read`, the layer itself left as it is."""
        if self._is_rounded(name):
            self._copies[name] = weight_OI.cpu()

    def is_narrow(self, name: str) -> bool:
        """Whether the layer's weight is held in bfloat16 or the like, not packed."""
        base: Any = self._layers[name].base
        return not isinstance(base, QuantizedLinear) and base.weight.dtype.itemsize < 4

    def _is_rounded(self, name: str) -> bool:
        return isinstance(self._layers[name].base, QuantizedLinear) or self.is_narrow(name)


def widen(weight: Tensor) -> Tensor:
    """In float32 or wider."""
    return weight.to(torch.promote_types(weight.dtype, torch.float32))


def read_weight(model: Any, name: str) -> Tensor:
    """The weight (O, I) of a plain linear layer."""
    module = model.get_submodule(name)
    weight: Tensor = module.weight.detach()
    return weight.T if isinstance(module, Conv1D) else weight


class Merged(NamedTuple):
    weight_OI: Tensor  # in the precision that it had
    rounding: float  # largest singular value of (this weight − the exact sum)


@torch.no_grad()
def merge_exactly(weight_OI: Tensor, delta_OI: Tensor) -> Merged:
    """Add an update to a weight; what rounding the sum has cost is measured, not estimated.

    Args:
        delta_OI: in float32 or wider; the sum is formed in it.
    """
    before_OI = weight_OI.to(delta_OI.dtype)
    sum_OI = before_OI + delta_OI
    # Knuth's TwoSum: what the addition lost, where the weight is float32 itself.
    added_OI = sum_OI - before_OI
    lost_OI = (before_OI - (sum_OI - added_OI)) + (delta_OI - added_OI)
    held_OI = sum_OI.to(weight_OI.dtype)
    lost_OI += sum_OI - held_OI.to(sum_OI.dtype)
    return Merged(held_OI, estimate_largest_singular_value(lost_OI))


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


@exact_products()
def estimate_largest_singular_value(matrix_OI: Tensor, rounds: int = 12) -> float:
    """By power iteration from a fixed start; for noise some percent too small."""
    generator = torch.Generator().manual_seed(0)
    vector_I = torch.randn(matrix_OI.shape[1], generator=generator).to(matrix_OI)
    smallest = torch.finfo(matrix_OI.dtype).tiny
    norm = vector_I.new_zeros(())
    for _ in range(rounds):
        image_O = matrix_OI @ (vector_I / vector_I.norm().clamp(min=smallest))
        norm = image_O.norm()
        vector_I = matrix_OI.T @ (image_O / norm.clamp(min=smallest))
    return float(norm)
