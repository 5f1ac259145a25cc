"""Frozen linear layers in 4 or 8 bit, packed by bitsandbytes.

    nf4, fp4   64 weights share a scale, their largest magnitude, and each becomes one of 16 values;
               `double` packs the scales into 8 bit too    (QLoRA: Dettmers et al. 2023, section 3)
    8 bit      a row shares a scale, its weights become whole numbers from −127 to 127
               (LLM.int8(): Dettmers et al. 2022, section 2)

Only weights are rounded: LLM.int8() rounds activations too, which costs accuracy and saves nothing
where the products are worked out in the compute precision anyway. A weight is unpacked for the
moment of a product, in the forward pass and again in the backward pass, and never kept.

Shapes: `I` input width, `O` output width.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from luthier.recipe.resolve import quantised_bits
from luthier.recipe.schema import Recipe


class Quantization(NamedTuple):
    """How the linear layers of a base model are packed; the output head never is."""

    bits: Literal[4, 8]
    quant_type: Literal["nf4", "fp4"] = "nf4"  # of 4 bit
    double: bool = True  # of 4 bit


def choose_quantization(recipe: Recipe) -> Quantization | None:
    """How a recipe wants the frozen base packed; None for not at all."""
    bits = quantised_bits(recipe)
    if bits is None:
        return None
    return Quantization(bits, recipe.bnb_4bit_quant_type, recipe.bnb_4bit_use_double_quant)


class PackedWeight(NamedTuple):
    """A weight (O, I): its codes, and bitsandbytes' QuantState (4 bit) or the scale of each row."""

    codes: Tensor
    scales: Any


class QuantizedLinear(nn.Module):
    """A frozen linear layer whose weight is held packed.

    Attributes:
        transposed: it stands for a `Conv1D`, whose weight is (I, O); here it is (O, I) as ever.
    """

    def __init__(
        self,
        packed: PackedWeight,
        bias: Tensor | None,
        quantization: Quantization,
        *,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        # A parameter, not a buffer: DistributedDataParallel sends buffers around in each forward.
        self.codes = nn.Parameter(packed.codes, requires_grad=False)
        self._scales = packed.scales
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.quantization = quantization
        self.transposed = transposed
        shape = packed.scales.shape if quantization.bits == 4 else packed.codes.shape
        self.out_features, self.in_features = (int(width) for width in shape)

    @property
    def weight(self) -> Tensor:
        """(O, I), unpacked anew at each call."""
        return unpack_weight(PackedWeight(self.codes, self._scales))

    def read_weight(self, dtype: torch.dtype) -> Tensor:
        """(O, I) in `dtype`, unpacked anew: the caller may write into it."""
        return self.weight.to(dtype)

    @torch.no_grad()
    def write_weight(self, weight_OI: Tensor) -> None:
        """Pack another weight in the place of this one, in the same way."""
        packed = pack_weight(weight_OI.to(self.codes.device), self.quantization)
        self.codes.data = packed.codes
        self._scales = packed.scales

    def list_scales(self) -> dict[str, Tensor]:
        """What decides the weight beside the codes, by name; the state dict does not hold it."""
        if isinstance(self._scales, Tensor):
            return {"scales": self._scales}
        state, found = self._scales, dict[str, Tensor]()
        for level in ("scales", "scales of scales"):
            if state is not None:
                named = {"absmax": state.absmax, "offset": state.offset, "code": state.code}
                found |= {f"{level} {name}": t for name, t in named.items() if t is not None}
                state = state.state2
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) → (…, O)."""
        out = multiply_frozen(x, self.read_weight)
        return out if self.bias is None else out + self.bias.to(out.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantizedLinear:
        """Scales follow the codes to another device; no cast to bfloat16 may reach them."""
        super()._apply(fn, recurse)
        self._scales = _move_scales(self._scales, self.codes.device)
        return self

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self.quantization}"


def _move_scales(scales: Any, device: torch.device) -> Any:
    if isinstance(scales, Tensor):
        return scales.to(device)
    scales.to(device)  # QuantState moves its own tensors in place
    return scales


def pack_weight(weight_OI: Tensor, quantization: Quantization) -> PackedWeight:
    """Round a weight to 4 or 8 bit on its own device. float64 goes through float32."""
    bitsandbytes = import_bitsandbytes()
    if quantization.bits == 8:
        # bitsandbytes itself takes this way round, whatever the weight's precision was.
        codes, scales, _ = bitsandbytes.int8_vectorwise_quant(weight_OI.half().contiguous())
        return PackedWeight(codes, scales)
    known = (torch.float32, torch.bfloat16, torch.float16)
    weight_OI = weight_OI if weight_OI.dtype in known else weight_OI.float()
    codes, state = bitsandbytes.quantize_4bit(
        weight_OI.contiguous(),
        blocksize=64,
        compress_statistics=quantization.double,
        quant_type=quantization.quant_type,
    )
    return PackedWeight(codes, state)


def unpack_weight(packed: PackedWeight) -> Tensor:
    """(O, I): in the precision that it was packed from (4 bit), or float32 (8 bit)."""
    bitsandbytes = import_bitsandbytes()
    if isinstance(packed.scales, Tensor):
        return bitsandbytes.int8_vectorwise_dequant(packed.codes.data, packed.scales)
    scales = packed.scales
    if packed.codes.device.type == "cpu" and scales.shape[-1] % scales.blocksize:
        # bitsandbytes 0.50's AVX-512 kernel begins a block anew with each row; blocks of packed
        # weights run on over the rows. As one long row the weight has none of them in its way.
        scales = copy.copy(scales)
        shape, scales.shape = scales.shape, torch.Size((1, math.prod(scales.shape)))
        return bitsandbytes.dequantize_4bit(packed.codes.data, scales).view(shape)
    return bitsandbytes.dequantize_4bit(packed.codes.data, scales)


def import_bitsandbytes() -> Any:
    """bitsandbytes' functions; imported only when needed, since that takes a second."""
    # It remarks on every start that an optional kernel is missing, which changes no result.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import bitsandbytes.functional

    return bitsandbytes.functional


def quantize_model(causal: Any, quantization: Quantization) -> None:
    """Pack every linear layer of a model in memory, the output head left out, where it lies."""
    head = causal.get_output_embeddings()
    for name, module in list(causal.named_modules()):
        if module is head or not isinstance(module, nn.Linear | Conv1D):
            continue
        transposed = isinstance(module, Conv1D)
        weight_OI = module.weight.detach().T if transposed else module.weight.detach()
        packed = pack_weight(weight_OI, quantization)
        _replace(
            causal, name, QuantizedLinear(packed, module.bias, quantization, transposed=transposed)
        )


def adopt_quantized_layers(causal: Any, quantization: Quantization) -> None:
    """Make the layers that transformers packed while loading our own, and the model plain again.

    Theirs repack themselves for inference, and round activations in 8 bit.
    """
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    for name, module in list(causal.named_modules()):
        if not isinstance(module, Linear4bit | Linear8bitLt):
            continue
        weight: Any = module.weight
        scales = weight.quant_state if quantization.bits == 4 else weight.SCB.float()
        packed = PackedWeight(weight.data, scales)
        transposed = issubclass(getattr(module, "source_cls", nn.Linear), Conv1D)
        _replace(
            causal, name, QuantizedLinear(packed, module.bias, quantization, transposed=transposed)
        )
    causal.hf_quantizer.remove_quantization_config(causal)
    causal.is_loaded_in_4bit = causal.is_loaded_in_8bit = False


def dequantize_layer(layer: QuantizedLinear, weight_OI: Tensor) -> nn.Module:
    """The plain layer that `layer` stands for, with the weight given."""
    with torch.device("meta"):
        plain: Any = (
            Conv1D(layer.out_features, layer.in_features)
            if layer.transposed
            else nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        )
    weight = weight_OI.T.contiguous() if layer.transposed else weight_OI
    plain.weight = nn.Parameter(weight, requires_grad=False)
    plain.bias = layer.bias
    return plain


def dequantize_model(causal: Any) -> None:
    """Unpack every packed layer into the model's precision, so that it is an ordinary model."""
    for name, module in list(causal.named_modules()):
        if isinstance(module, QuantizedLinear):
            _replace(causal, name, dequantize_layer(module, module.read_weight(causal.dtype)))


def count_parameters(causal: nn.Module) -> int:
    """The weights of a model; a packed weight counts as what it stands for."""
    packed = sum(
        module.out_features * module.in_features - module.codes.numel()
        for module in causal.modules()
        if isinstance(module, QuantizedLinear)
    )
    return packed + sum(parameter.numel() for parameter in causal.parameters())


def choose_compute_dtype(x: Tensor) -> torch.dtype:
    """The precision that a product with `x` is worked out in: autocast's, or that of `x`."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def multiply_frozen(x: Tensor, read_weight: Callable[[torch.dtype], Tensor]) -> Tensor:
    """x Wᵀ for a frozen W (O, I) that is read anew in the backward pass, not kept until then.

    Args:
        read_weight: gives W in the precision it is asked for.
    """
    return _FrozenProduct.apply(x.to(choose_compute_dtype(x)), read_weight)  # type: ignore[no-any-return]


class _FrozenProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, read_weight: Callable[[torch.dtype], Tensor]) -> Tensor:
        ctx.read_weight = read_weight
        return functional.linear(x, read_weight(x.dtype))

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, None]:
        grad = outputs[0]
        if not ctx.needs_input_grad[0]:
            return None, None
        return grad @ ctx.read_weight(grad.dtype), None


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
