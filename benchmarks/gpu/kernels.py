"""Where the time of a step goes: kernels by name and by kind, and what the device waits for.

On a GPU what it ran is read from the profiler's trace, where each kernel and copy stands with its
beginning and its end; on a processor from the operators' own time.
"""

from __future__ import annotations

import gzip
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from luthier import device

# The first that fits gives the kind; `other` where none does.
KINDS: Mapping[str, str] = {
    "attention": r"flash|fmha|attention|sdpa",
    "quantisation": r"dequant|quantize|kgemm_4bit|nf4|fp4",
    "optimizer": r"multi_tensor|adam|foreach|lpnorm",
    "matrix products": r"gemm|gemv|nvjet|cutlass|cublas|splitk|wgmma|xmma|::mm\b|addmm|bmm|linear"
    r"|matmul",
    "copies and casts": r"memcpy|memset|copy|catarray|::cat\b|contiguous|clone|::to\b|fill|zero_",
    "embedding and indexing": r"index|gather|scatter|embedding|sort|nonzero|arange|select",
    "elementwise and sums": r"elementwise|vectorized|reduce|triton|mul|add|sub|div|silu|pow|mean"
    r"|softmax|sum|neg|rsqrt|exp|sigmoid|norm|sin|cos|log",
}
SHOWN_KERNELS = 20
LONGEST_NAME = 110
WARM_UP_STEPS = 3
# Of a trace: what runs on the device, and what starts it.
ON_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}


class Span(NamedTuple):
    """Something that ran on the device; microseconds."""

    name: str
    start: float
    end: float


def profile_steps(step: Callable[[], float], steps: int, trace: Path | None) -> dict[str, Any]:
    """Some steps without the profiler for their time, then as many under it.

    Args:
        trace: where the whole trace goes, if anywhere.
    """
    for _ in range(WARM_UP_STEPS):
        step()
    plain_seconds = time_steps(step, steps)
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    # The first step under it is dearer than the others and may be seen in part: thrown away.
    waits = schedule(wait=0, warmup=1, active=steps, repeat=1)
    with profile(activities=activities, schedule=waits) as profiler:
        step()
        device.synchronize()  # or its last kernels would be seen in the steps that count
        profiler.step()
        started = time.perf_counter()
        for left in reversed(range(steps)):
            step()
            device.synchronize()
            if left == 0:
                profiled_seconds = (time.perf_counter() - started) / steps
            profiler.step()
    common = {
        "steps": steps,
        "step_seconds": round(plain_seconds, 5),
        "profiled_step_seconds": round(profiled_seconds, 5),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = trace or Path(folder) / "trace.json"
        if trace or on_gpu:
            profiler.export_chrome_trace(str(file))
        if not on_gpu:
            return {**common, **summarise_operators(profiler.key_averages(), steps)}
        events = read_trace(file)
    spans = read_spans(events)
    if not spans:
        raise RuntimeError("the profiler saw no kernel: the driver may keep programs from it")
    waits = measure_waits(events) / 1e6 / steps
    host = {"host_seconds": round(max(0.0, profiled_seconds - waits), 5)}
    return {**common, **host, **summarise_spans(spans, steps, plain_seconds)}


def read_trace(file: Path) -> list[dict[str, Any]]:
    """A trace's events; PyTorch packs a file whose name ends in .gz."""
    whole = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return json.loads(whole)["traceEvents"]


def time_steps(step: Callable[[], float], steps: int) -> float:
    device.synchronize()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    device.synchronize()
    return (time.perf_counter() - started) / steps


def read_spans(events: Iterable[Mapping[str, Any]]) -> list[Span]:
    """What ran on the device. Annotations lie there too, over kernels, and do not count."""
    return [
        Span(event["name"], event["ts"], event["ts"] + event["dur"])
        for event in events
        if event.get("ph") == "X" and str(event.get("cat", "")).lower() in ON_DEVICE
    ]


def measure_waits(events: Iterable[Mapping[str, Any]]) -> float:
    """Microseconds in which the host waited for the device."""
    return sum(
        event["dur"]
        for event in events
        if event.get("ph") == "X"
        and str(event.get("cat", "")).startswith("cuda_")
        and "synchronize" in event["name"].lower()
    )


def summarise_spans(spans: Sequence[Span], steps: int, step_seconds: float) -> dict[str, Any]:
    """Shares are of the time that the device was busy; idle is of a step without the profiler."""
    busy = measure_busy(spans) / 1e6 / steps
    named: dict[str, list[float]] = {}
    for span in spans:
        named.setdefault(span.name, []).append((span.end - span.start) / 1e6)
    return {
        "device_seconds": round(busy, 5),
        "idle_share": round(max(0.0, 1 - busy / step_seconds), 4),
        "launches_per_step": round(len(spans) / steps, 1),
        **rank({name: (sum(t), len(t)) for name, t in named.items()}, steps),
    }


def measure_busy(spans: Iterable[Span]) -> float:
    """Microseconds in which at least one span runs."""
    busy, end = 0.0, float("-inf")
    for span in sorted(spans, key=lambda item: item.start):
        busy += max(0.0, span.end - max(end, span.start))
        end = max(end, span.end)
    return busy


def summarise_operators(averages: Iterable[Any], steps: int) -> dict[str, Any]:
    """The same of a processor's operators, by the time that is their own."""
    found = {
        item.key: (item.self_cpu_time_total / 1e6, item.count)
        for item in averages
        if not item.key.startswith("ProfilerStep")
    }
    calls = sum(count for _, count in found.values())
    return {"launches_per_step": round(calls / steps, 1), **rank(found, steps)}


def rank(found: Mapping[str, tuple[float, int]], steps: int) -> dict[str, Any]:
    """Name → seconds and count of all steps; the kinds and the names that take the most."""
    whole = sum(seconds for seconds, _ in found.values()) or 1.0
    kinds: dict[str, float] = {}
    for name, (seconds, _) in found.items():
        kind = find_kind(name)
        kinds[kind] = kinds.get(kind, 0.0) + seconds
    longest = sorted(found.items(), key=lambda item: -item[1][0])[:SHOWN_KERNELS]
    return {
        "kinds": {
            kind: {"share": round(seconds / whole, 4), "seconds": round(seconds / steps, 6)}
            for kind, seconds in sorted(kinds.items(), key=lambda item: -item[1])
        },
        "kernels": [
            {
                "name": name[:LONGEST_NAME],
                "kind": find_kind(name),
                "share": round(seconds / whole, 4),
                "per_step": round(count / steps, 1),
                "microseconds_each": round(1e6 * seconds / count, 1),
            }
            for name, (seconds, count) in longest
        ],
    }


def find_kind(name: str) -> str:
    lower = name.lower()
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, lower)), "other")
