"""How much of a device's nominal speed a training step gets.

Three limits, each a physical one: matrix products reach a share of the peak that depends on the
kind of device and a little on the model's width; everything else moves bytes at a share of the
memory's bandwidth; and a processor starts kernels at a finite rate. What is often called one
"utilisation" follows from them: a step of few tokens spends its time on reading weights and
starting kernels, one of many on products.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Device
from luthier.plan.work.engines import ENGINES, computes_in_half
from luthier.plan.work.workload import Engine
from luthier.recipe.resolve import resolve_bf16
from luthier.recipe.schema import Recipe

Precision = Literal["float32", "bfloat16"]
BYTES: Mapping[Precision, int] = {"float32": 4, "bfloat16": 2}

# Share of the dense bfloat16 peak that large products reach, by the device's name or its first
# part. A100: fitted on fms-acceleration's rows (docs/planner-accuracy.md, where it is also judged
# on groups left out of the fit). The others from what their makers' own libraries reach: Hopper
# and Blackwell are held back by their power limit, A10, L4 and T4 by 150, 72 and 70 W, MI300X by
# its libraries; cards whose published peak is already that with float32 sums come closest to it.
_PRODUCT_SHARES: Mapping[str, float] = {
    "A100": 0.84,
    "A10G": 0.80,
    "A10": 0.55,
    "B200": 0.65,
    "GB10": 0.78,
    "H100": 0.66,
    "H200": 0.68,
    "L40": 0.80,
    "L40S": 0.70,
    "L4": 0.55,
    "MI300X": 0.50,
    "RTX 3090": 0.90,
    "RTX 4090": 0.90,
    "RTX 5090": 0.90,
    "T4": 0.55,
}
_USUAL_PRODUCT_SHARE: Mapping[str, float] = {
    "nvidia": 0.75,
    "amd": 0.50,
    "unified": 0.75,
    "cpu": 0.85,
}
# Products of width h reach h / (h + this) of that: the edges of tiles and the last wave.
HALF_WIDTH, CPU_HALF_WIDTH = 250, 16
# FlashAttention-2 against the products' peak (Dao 2023, figure 4: 0.5 to 0.7 on an A100). It does
# not use what Hopper's multipliers need to be fed with, and reaches 0.35 there (Shah et al. 2024,
# FlashAttention-3, abstract); Blackwell's are fed in yet another way, and are taken alike.
ATTENTION_SHARE = 0.55
_ATTENTION_SHARES: Mapping[str, float] = {"B200": 0.35, "H100": 0.35, "H200": 0.35}
# What streaming kernels get of the nominal bandwidth, and what a layer's many short ones do
# (fitted together with the A100's share of products).
BANDWIDTH_SHARE, LAYER_BANDWIDTH_SHARE = 0.85, 0.62
# Megabytes of the last cache before memory, where makers state it, and how much faster what stays
# in it moves. A small micro-batch's activations do.
_CACHE_MB: Mapping[str, float] = {
    "A100": 40,
    "B200": 126,
    "GB10": 24,
    "H100": 50,
    "H200": 50,
    "L4": 48,
    "L40": 96,
    "L40S": 96,
    "MI300X": 256,
    "RTX 4090": 72,
    "RTX 5090": 96,
}
USUAL_CACHE_MB = 6
CACHE_SPEED_UP = 2.0
# From Python through PyTorch to the device, for one kernel, with what the loop does between two;
# fitted to Qwen's own steps of 256 tokens on an A100 (benchmarks/planner_short_steps.py). On a
# processor the operation itself comes on top, there without a driver.
SECONDS_PER_KERNEL: Mapping[str, float] = {"cpu": 4e-6}
USUAL_SECONDS_PER_KERNEL = 13e-6
# float32 products without TF32 run on the ordinary cores (A100: 19.5 of 312 TFLOP/s), with it at
# half the bfloat16 rate.
_FLOAT32_SHARES: Mapping[str, float] = {
    "A10": 1 / 4,
    "A10G": 1 / 2,
    "A40": 1 / 4,
    "L4": 1 / 4,
    "L40": 1 / 2,
    "L40S": 1 / 4,
    "MI300X": 1 / 8,
    "RTX": 1 / 2,
    "T4": 1 / 8,
    "V100": 1 / 8,
}
USUAL_FLOAT32_SHARE, TF32_SHARE = 1 / 16, 1 / 2
# An exact singular value decomposition against the float32 peak: some ten minutes for all of
# LLaMA-7B's gradients on an A100, as GaLore's users report, is 4% of it. LAPACK does better.
SVD_SHARE, CPU_SVD_SHARE = 0.04, 0.50


class Speeds(NamedTuple):
    """What a device really does in a second.

    Attributes:
        product_flops: of matrix products in the run's precision, at the model's width.
        attention_flops: of the attention kernel.
        float32_flops: of float32 products.
        svd_flops: of exact singular value decompositions.
        bytes: that streaming kernels move.
        layer_bytes: that the element-wise kernels of a layer move.
        kernel_seconds: to start one kernel.
        waits_for_kernels: whether starting a kernel and computing it take turns.
        basis: of the product share.
    """

    product_flops: float
    attention_flops: float
    float32_flops: float
    svd_flops: float
    bytes: float
    layer_bytes: float
    kernel_seconds: float
    waits_for_kernels: bool
    basis: Figure


def choose_precision(recipe: Recipe, device: Device, engine: Engine = "luthier") -> Precision:
    """What the recipe computes in on that device, as training itself chooses it.

    A card without bfloat16 has float16 at the rate that the table gives it. Our own loop computes
    in float32 there, the others in float16, which is `bfloat16` here: it takes as many bytes.
    """
    wanted = resolve_bf16(recipe)
    if wanted == "auto":
        return "bfloat16" if computes_in_half(device, ENGINES[engine]) else "float32"
    return "bfloat16" if wanted else "float32"


def product_share(device: Device) -> Figure:
    """Share of the nominal peak that wide products reach on `device`."""
    name = _find_name(device, _PRODUCT_SHARES)
    if name == "A100":
        return Figure(_PRODUCT_SHARES[name], "measured", "fms-acceleration's rows")
    if name is not None:
        return Figure(_PRODUCT_SHARES[name], "assumed", f"usual for {name}")
    usual = _USUAL_PRODUCT_SHARE[device.kind]
    return Figure(usual, "assumed", f"usual for a device of kind {device.kind}")


def cache_speed_up(device: Device, tensor_bytes: float) -> float:
    """How much faster than from memory kernels move tensors of this size: 1 to CACHE_SPEED_UP."""
    if device.kind == "cpu":
        # Its caches hold a layer's tensors; exponentials take what that gains in part.
        return CACHE_SPEED_UP
    name = _find_name(device, _CACHE_MB)
    cache = _CACHE_MB[name] if name is not None else USUAL_CACHE_MB
    # One tensor is read while the next is written.
    kept = min(1.0, cache * 1e6 / max(1.0, 2 * tensor_bytes))
    return 1 / (1 - kept + kept / CACHE_SPEED_UP)


def _find_name(device: Device, table: Mapping[str, float]) -> str | None:
    """The entry of the device: its own name, or the first part of it (`H100` of `H100-SXM`)."""
    first = device.name.replace(" ", "-").partition("-")[0]
    return next((name for name in (device.name, first) if name in table), None)


def find_speeds(device: Device, width: int, recipe: Recipe, engine: Engine = "luthier") -> Speeds:
    """The speeds of `device` for a model of hidden width `width` under this recipe."""
    share = product_share(device)
    peak = device.bf16_tflops.value * 1e12
    cpu = device.kind == "cpu"
    plain = peak * _float32_share(device, recipe)
    if device.float32_tflops is not None:
        plain = device.float32_tflops.value * 1e12
    top = plain if choose_precision(recipe, device, engine) == "float32" else peak
    products = top * share.value * width / (width + (CPU_HALF_WIDTH if cpu else HALF_WIDTH))
    return Speeds(
        product_flops=products,
        attention_flops=top * _attention_share(device),
        float32_flops=plain * share.value,
        svd_flops=plain * (CPU_SVD_SHARE if cpu else SVD_SHARE),
        bytes=device.bandwidth_gb_s.value * 1e9 * BANDWIDTH_SHARE,
        layer_bytes=device.bandwidth_gb_s.value * 1e9 * LAYER_BANDWIDTH_SHARE,
        kernel_seconds=SECONDS_PER_KERNEL.get(device.kind, USUAL_SECONDS_PER_KERNEL),
        waits_for_kernels=cpu,
        basis=share,
    )


def _attention_share(device: Device) -> float:
    name = _find_name(device, _ATTENTION_SHARES)
    return _ATTENTION_SHARES[name] if name is not None else ATTENTION_SHARE


def _float32_share(device: Device, recipe: Recipe) -> float:
    if recipe.tf32 is True:
        return TF32_SHARE
    name = _find_name(device, _FLOAT32_SHARES)
    return _FLOAT32_SHARES[name] if name is not None else USUAL_FLOAT32_SHARE
