"""A layer's frozen weight as tensors for a file, and back: bit for bit, packed ones too."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from luthier.adapters.lora import LoraLayer
from luthier.models.quantize import QuantizedLinear, import_bitsandbytes

WEIGHT, CODES, SCALES = "weight", "codes", "scales"


def read_base(layer: LoraLayer) -> dict[str, Tensor]:
    """The weight as it is held: `weight`, or `codes` and what belongs to their scales."""
    if not isinstance(layer.base, QuantizedLinear):
        return {WEIGHT: layer.weight.detach()}
    codes = layer.base.codes.data
    scales = layer.base._scales  # pyright: ignore[reportPrivateUsage]
    if isinstance(scales, Tensor):
        return {CODES: codes, SCALES: scales}
    return {CODES: codes, **scales.as_dict(packed=True)}


@torch.no_grad()
def write_base(layer: LoraLayer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `read_base` gave; DoRA's norm of it is to be refreshed afterwards."""
    if not isinstance(layer.base, QuantizedLinear):
        layer.write_weight(tensors[WEIGHT].T if layer.transposed else tensors[WEIGHT])
        return
    device = layer.base.codes.device
    if SCALES in tensors:
        scales = tensors[SCALES].to(device)
    else:
        others = {name: tensor for name, tensor in tensors.items() if name != CODES}
        scales = import_bitsandbytes().QuantState.from_dict(others, device=device)
    layer.base.codes.data = tensors[CODES].to(device)
    layer.base._scales = scales  # pyright: ignore[reportPrivateUsage]
    layer.register_buffer("_base_norm_squared_O", None, persistent=False)
