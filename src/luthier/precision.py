"""Which precision a run computes in: what its recipe asks for, or what is faster here.

`bf16: auto` takes bfloat16 on a GPU that computes it. On a processor the two are measured once, by
a small training step: with instructions for bfloat16 it is up to twice as fast, without them many
times slower. Whoever starts a run or a study decides once and writes it down; what has begun goes
on in the precision that it began in.

`python -m luthier.precision` prints the decision of `bf16: auto` here as JSON.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from luthier.device import Precision, describe_device, has_bfloat16, prepare_process
from luthier.errors import TrainingError
from luthier.precision_store import MeasuredGain, find_gain, remember_gain

PAIRS = 5
# A precision that is this much slower in its first step has lost: no need to wait for more.
HOPELESS = 3.0
# The small step: T tokens in S segments, width D, H heads, feed-forward F, vocabulary V.
T, S, D, H, F, V = 1024, 4, 256, 4, 704, 4096


class Decision(NamedTuple):
    """A precision and what it rests on, in a few words."""

    precision: Precision
    why: str


def decide(bf16: bool | Literal["auto"]) -> Decision:
    """The precision for a run that begins here and now.

    Raises:
        TrainingError: bfloat16 was asked for where the hardware lacks it.
    """
    if bf16 is False:
        return Decision("float32", "bf16: false")
    device = describe_device()
    if bf16 is True:
        if not has_bfloat16():
            raise TrainingError(f"bf16: true, but {device.name} has no bfloat16. Write bf16: auto.")
        return Decision("bfloat16", "bf16: true")
    if device.kind == "cuda":
        if has_bfloat16():
            return Decision("bfloat16", f"bf16: auto, {device.name} computes it")
        return Decision("float32", f"bf16: auto, {device.name} has no bfloat16")
    if device.kind != "cpu":
        return Decision("float32", f"bf16: auto, untried on {device.name}")
    measured = find_gain() or measure_and_remember()
    return Decision(measured.precision, measured.why)


def choose_precision(bf16: bool | Literal["auto"]) -> Precision:
    """`decide` without its reason."""
    return decide(bf16).precision


def measure_and_remember() -> MeasuredGain:
    measured = measure_gain()
    remember_gain(measured)
    return measured


def measure_gain() -> MeasuredGain:
    """Time the small step in both precisions, in turn; a second or two on two cores."""
    prepare_process()
    weights = _draw_weights()
    _time_step(weights, "float32")  # allocates what later steps find there
    plain = _time_step(weights, "float32")
    first = _time_step(weights, "bfloat16")
    if first > HOPELESS * plain:
        return MeasuredGain(plain / first, 0.0)
    ratios: list[float] = []
    for number in range(PAIRS):
        order: tuple[Precision, Precision] = ("float32", "bfloat16")
        seconds = {name: _time_step(weights, name) for name in order[:: -1 if number % 2 else 1]}
        ratios.append(seconds["float32"] / seconds["bfloat16"])
    share = sum(ratio > 1 for ratio in ratios) / PAIRS
    return MeasuredGain(statistics.median(ratios), share)


def _draw_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"qkv": (3 * D, D), "out": (D, D), "up": (2 * F, D), "down": (D, F), "head": (V, D)}
    return {
        name: (torch.randn(shape, generator=generator) * shape[1] ** -0.5).requires_grad_()
        for name, shape in shapes.items()
    }


def _time_step(weights: dict[str, Tensor], precision: Precision) -> float:
    """Seconds of one layer, head and loss, forward and backward."""
    generator = torch.Generator().manual_seed(1)
    hidden_TD = torch.randn(T, D, generator=generator)
    target_T = torch.randint(V, (T,), generator=generator)
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        qkv = functional.linear(hidden_TD, weights["qkv"]).view(S, T // S, 3, H, D // H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        hidden_TD = hidden_TD + functional.linear(
            seen.transpose(1, 2).reshape(T, D), weights["out"]
        )
        gate, up = functional.linear(hidden_TD, weights["up"]).chunk(2, -1)
        hidden_TD = hidden_TD + functional.linear(functional.silu(gate) * up, weights["down"])
        logits_TV = functional.linear(hidden_TD, weights["head"])
    functional.cross_entropy(logits_TV.float(), target_T).backward()
    seconds = time.perf_counter() - started
    for weight in weights.values():
        weight.grad = None
    return seconds


if __name__ == "__main__":
    print(json.dumps(decide("auto")._asdict()))
