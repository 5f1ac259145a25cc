"""What both peers' processes do alike: precision, clock, memory, checkpointing."""

from __future__ import annotations

import gc
import time
from typing import Any

import torch

from luthier import device


def start_clock() -> float:
    """Wait for the device, and take the time."""
    device.synchronize()
    return time.perf_counter()


def stop_clock(started: float) -> float:
    """Seconds since `started`, the device waited for."""
    device.synchronize()
    return time.perf_counter() - started


def measure_peaks() -> dict[str, int]:
    """Bytes at the fullest moment: of tensors, and of all that PyTorch kept for them.

    On a processor both are the process's own peak since its start, which never falls.
    """
    allocated = device.measure_peak_memory_bytes()
    reserved = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else allocated
    return {"allocated": allocated, "reserved": reserved}


def give_back() -> dict[str, int]:
    """Empty PyTorch's cache, so that another process finds the room; what is still held."""
    gc.collect()
    if not torch.cuda.is_available():
        return {"held": 0}
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return {"held": torch.cuda.memory_reserved()}


def set_checkpointing(causal: Any, on: bool) -> None:
    """Let a transformers model recompute its layers, or not.

    A checkpointed layer needs an input with a gradient, so transformers hangs a hook on the
    embedding. Without checkpointing it would make the frozen first layer work for nobody.
    """
    causal.get_input_embeddings()._forward_hooks.clear()
    for prefix in ("activation", "gradient"):
        # transformers renamed it in the course of version 5.
        switch = getattr(causal, f"{prefix}_checkpointing_{'enable' if on else 'disable'}", None)
        if switch is not None:
            switch({"use_reentrant": False}) if on else switch()
            return
