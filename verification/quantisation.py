"""NF4 and 8 bit beside bitsandbytes' own layers, beside the papers in NumPy, and under adapters.

Shapes: `I` input width, `O` output width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from bitsandbytes import functional as bnb
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from peft import LoraConfig
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn

from luthier.adapters.attach_lora import LoraTargets, attach_lora, find_layers, merge_lora
from luthier.adapters.lora import LoraLayer, LoraSettings
from luthier.models.quantize import Quantization, QuantizedLinear, pack_weight, quantize_model
from verification.check import compare_named, largest, relative_error
from verification.layers import METHODS, copy_into_peft, gradients_of_ours, gradients_of_peft
from verification.models import build_model
from verification.peft_models import shift

NF4, NF4_DOUBLE = Quantization(4, "nf4", False), Quantization(4, "nf4", True)
FP4, INT8 = Quantization(4, "fp4", False), Quantization(8)
# bitsandbytes' own tests hold NF4's mean absolute error on normal numbers, blocks of 64, to this.
BITSANDBYTES_NF4_ERROR = 0.072792

# Whole blocks of 64 in each row: for others bitsandbytes 0.50.2 mistakes the scales on some CPUs.
WIDTHS: dict[str, dict[str, int]] = {
    "llama": {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16},
    "gpt2": {"n_embd": 64},
}

Array = np.ndarray[Any, np.dtype[np.float64]]


def draw_weight(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def unpack(weight_OI: Tensor, quantization: Quantization) -> Tensor:
    return QuantizedLinear(pack_weight(weight_OI, quantization), None, quantization).weight


def compare_with_bitsandbytes() -> float:
    """The unpacked weight, against that of bitsandbytes' own layers."""
    weight = draw_weight(96, 192)
    differences: list[float] = []
    for choice in (NF4, NF4_DOUBLE, FP4):
        layer: Any = Linear4bit(
            192, 96, bias=False, quant_type=choice.quant_type, compress_statistics=choice.double
        )
        layer.weight.data = weight.clone()
        packed = layer.to("cpu").weight
        expected = bnb.dequantize_4bit(packed.data, packed.quant_state)
        differences.append(relative_error(unpack(weight, choice), expected))
    layer = Linear8bitLt(192, 96, bias=False, has_fp16_weights=False)
    layer.weight.data = weight.clone()
    packed = layer.to("cpu").weight
    expected = bnb.int8_vectorwise_dequant(packed.data, packed.SCB)
    differences.append(relative_error(unpack(weight, INT8), expected))
    return largest(differences)


def compare_nf4_with_paper(*, double: bool, width: int = 192) -> float:
    """The unpacked weight, against blocks, scales and nearest values worked out in NumPy."""
    weight = draw_weight(64, width)
    expected = quantise_nf4(weight.double().numpy(), double=double)
    found = unpack(weight, NF4_DOUBLE if double else NF4)
    return relative_error(found.double(), torch.from_numpy(expected))


def quantise_nf4(weight: Array, *, double: bool) -> Array:
    """QLoRA (Dettmers et al. 2023), section 3: 16 quantiles of the normal distribution a block.

    `double` rounds the blocks' scales, less their mean, to 8 bit in blocks of 256. Which of the 256
    values is bitsandbytes' choice: on a CPU the second nearest for some scales next to the mean.
    """
    # float32 values of the paper's appendix E, as bitsandbytes publishes them.
    values = bnb.get_4bit_type("nf4", device="cpu").double().numpy()
    blocks = weight.reshape(-1, 64)
    scales = np.abs(blocks).max(1)
    codes = nearest(blocks / scales[:, None], values)
    if double:
        mean = scales.mean()
        table = bnb.create_dynamic_map(signed=True)
        centred = torch.from_numpy(scales - mean).float()
        chosen, _ = bnb.quantize_blockwise(centred, code=table, blocksize=256)
        rounded = table.double().numpy()[chosen.numpy()]
        blocks_of_256 = np.arange(len(scales)) // 256
        largest_of = [np.abs(scales - mean)[blocks_of_256 == n].max() for n in set(blocks_of_256)]
        scales = rounded * np.array(largest_of)[blocks_of_256] + mean
    return (values[codes] * scales[:, None]).reshape(weight.shape)


def nearest(numbers: Array, values: Array) -> Any:
    return np.abs(numbers[..., None] - values).argmin(-1)


def compare_8bit_with_paper() -> float:
    """LLM.int8() (Dettmers et al. 2022), section 2: whole numbers to 127, one scale a row."""
    weight = draw_weight(48, 64).half()  # none of its values lies between two whole numbers
    exact = weight.double().numpy()
    scales = np.abs(exact).max(1, keepdims=True)
    expected = np.rint(exact * 127 / scales) * scales / 127
    found = unpack(weight.float(), INT8)
    return relative_error(found.double(), torch.from_numpy(expected))


def compare_nf4_error() -> float:
    """Mean |W − unpacked W| of a million normal numbers, against the figure of bitsandbytes."""
    weight = draw_weight(1024, 1024)
    found = float((weight - unpack(weight, NF4)).abs().double().mean())
    return abs(found - BITSANDBYTES_NF4_ERROR) / BITSANDBYTES_NF4_ERROR


def compare_layer_on_nf4(method: str) -> float:
    """Output and every gradient of an adapter on NF4, against PEFT's on the unpacked weight."""
    torch.manual_seed(0)
    differences: list[float] = []
    for tokens in (3, 80):
        ours, peft = build_quantised_pair(method)
        x = torch.randn(tokens, 64, dtype=torch.float64)
        weights = torch.randn(tokens, 48, dtype=torch.float64)
        x_ours, x_peft = x.clone().requires_grad_(), x.clone().requires_grad_()
        y_ours, y_peft = ours.train()(x_ours), peft.train()(x_peft)
        (y_ours * weights).sum().backward()
        (y_peft * weights).sum().backward()
        gradients = gradients_of_ours(ours, x_ours), gradients_of_peft(peft, x_peft)
        differences += [relative_error(y_ours, y_peft), compare_named(*gradients)]
    return largest(differences)


def build_quantised_pair(method: str) -> tuple[LoraLayer, Any]:
    settings = LoraSettings(4, 8, **METHODS[method])
    packed = pack_weight(draw_weight(48, 64), NF4_DOUBLE)
    bias = torch.randn(48, dtype=torch.float64)
    ours = LoraLayer(QuantizedLinear(packed, bias, NF4_DOUBLE), settings, torch.float64)
    with torch.no_grad():
        ours.lora_B.normal_()
        if ours.magnitude is not None:
            ours.magnitude.mul_(torch.rand(48, dtype=torch.float64) + 0.5)
    ours.refresh_norm()
    plain = nn.Linear(64, 48).double()
    plain.weight.data = bnb.dequantize_4bit(packed.codes, packed.scales).double()
    plain.bias.data = bias
    config = LoraConfig(
        r=4, lora_alpha=8, use_dora=settings.magnitude, use_rslora=method.endswith("rslora")
    )
    peft = PeftLinear(plain, "default", config=config, r=4, lora_alpha=8).double()
    copy_into_peft(ours, peft)
    return ours, peft


def compare_merged(method: str, quantization: Quantization) -> float:
    """Every merged weight on a quantised base, against W + s·B A and DoRA's gain in NumPy."""
    differences: list[float] = []
    for family, widths in WIDTHS.items():
        model = build_model(family, dtype=torch.float32, **widths)
        quantize_model(model, quantization)
        settings = LoraSettings(4, 8, **METHODS[method])
        adapter = attach_lora(model, settings, LoraTargets(None, True), base_model="")
        torch.manual_seed(1)
        shift(adapter.parameters)
        expected = {name: merge_plainly(layer) for name, layer in find_layers(model).items()}
        merge_lora(model)
        for name, weight_OI in expected.items():
            module = model.get_submodule(name)
            found = module.weight if isinstance(module, nn.Linear) else module.weight.T
            differences.append(relative_error(found.double(), torch.from_numpy(weight_OI)))
    return largest(differences)


def merge_plainly(layer: LoraLayer) -> Array:
    """W + s·B A, for DoRA each row then scaled to the length of its magnitude, in float64."""
    base: Any = layer.base
    packed = base.codes.data
    if base.quantization.bits == 4:
        weight = bnb.dequantize_4bit(packed, base._scales).double().numpy()
    else:
        weight = packed.double().numpy() * base._scales.double().numpy()[:, None] / 127
    a, b = (part.detach().double().numpy() for part in (layer.lora_A, layer.lora_B))
    rank = layer.settings.rank
    scale = 8 / (np.sqrt(rank) if layer.settings.scaling == "alpha/sqrt(rank)" else rank)
    merged = weight + scale * b @ a
    if layer.magnitude is None:
        return merged
    magnitude = layer.magnitude.detach().double().numpy()
    return magnitude[:, None] * merged / np.linalg.norm(merged, axis=1, keepdims=True)
