"""The only file that names cuda, mps or cpu."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import resource
import sys
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
import torch

from luthier.errors import TrainingError

Precision = Literal["float32", "bfloat16"]


class DeviceDescription(NamedTuple):
    kind: str  # cuda, mps or cpu
    name: str
    memory_bytes: int
    devices: int


def describe_device() -> DeviceDescription:
    """The device that a run started now would use."""
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        count = torch.cuda.device_count()
        return DeviceDescription("cuda", properties.name, properties.total_memory, count)
    memory_bytes = psutil.virtual_memory().total
    if torch.backends.mps.is_available():
        return DeviceDescription("mps", "Apple GPU", memory_bytes, 1)
    return DeviceDescription("cpu", describe_processor(), memory_bytes, 1)


def describe_processor() -> str:
    """The processor's name and the cores that torch uses."""
    name = "CPU"
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name} ({torch.get_num_threads()} threads)"


def choose_precision(bf16: bool | Literal["auto"]) -> Precision:
    """`auto` takes bfloat16 on a GPU that computes it, and float32 elsewhere.

    Raises:
        TrainingError: bfloat16 was asked for where the hardware lacks it.
    """
    if bf16 is False:
        return "float32"
    device = describe_device()
    capable = device.kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if bf16 == "auto":
        return "bfloat16" if device.kind == "cuda" and capable else "float32"
    if not capable:
        raise TrainingError(f"bf16: true, but {device.name} has no bfloat16. Write bf16: auto.")
    return "bfloat16"


def allow_tf32(allowed: bool) -> None:
    """Let float32 matrix products round to TF32 on a GPU."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def flash_attention_available() -> bool:
    """True where the flash_attn package can run: installed, with an NVIDIA GPU."""
    return torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None


def rehearses_memory() -> bool:
    """True where memory is a device's own, so that the longest batch is worth trying first."""
    return torch.cuda.is_available()


def prepare_process() -> None:
    """Set what makes runs repeatable and CPU training fast; call once before training.

    glibc returns every large freed block to the kernel, and each training step then faults the
    same pages in again. Keeping them measured 1.2 times the speed on a 4M-parameter model.
    """
    # cuBLAS repeats its sums in the same order only with a workspace of fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling every new tensor with NaN is a help in debugging, and takes time in each step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if sys.platform == "linux" and not torch.cuda.is_available():
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # mallopt(3)
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(mmap_threshold, 1 << 30)
            libc.mallopt(trim_threshold, 2**31 - 1)
            libc.mallopt(top_pad, 1 << 26)


def reset_peak_memory() -> None:
    """Start a new measurement of peak memory (a GPU's only; a process's peak never falls)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def measure_peak_memory_bytes() -> int:
    """Peak allocated bytes on the GPU, or the process's peak resident bytes on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # Linux hands a parent's ru_maxrss on to its children; VmHWM is the process's own.
    with contextlib.suppress(OSError), Path("/proc/self/status").open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def synchronize() -> None:
    """Wait for the device, so that a clock read now is honest."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
