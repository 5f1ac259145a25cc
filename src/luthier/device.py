"""The only file that names cuda, mps or cpu."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import resource
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil
import torch

from luthier.processor import CPUINFO, read_processor

Precision = Literal["float32", "bfloat16"]

# cuBLAS repeats its sums in the same order only with a workspace of fixed size. PyTorch looks at
# this once, at a process's first product, which may come before any training.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

_requires_order = True


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


def has_bfloat16() -> bool:
    """True where the device computes in bfloat16, if need be slowly, as any processor does."""
    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)


def usual_precision() -> Precision:
    """bfloat16 on a GPU that computes it and float32 elsewhere, as most tools take them."""
    on_gpu = describe_device().kind == "cuda" and has_bfloat16()
    return "bfloat16" if on_gpu else "float32"


def allow_tf32(allowed: bool) -> None:
    """Let float32 matrix products round to TF32 on a GPU."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


@contextlib.contextmanager
def exact_products() -> Generator[None]:
    """Within the block float32 products are float32's, also where the recipe lets them round."""
    products: Any = torch.backends.cuda.matmul
    # Since PyTorch 2.9 the older name raises where somebody has set the newer one.
    newer = getattr(products, "fp32_precision", None)
    allowed = products.allow_tf32 if newer is None else newer == "tf32"
    products.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32 = allowed


@contextlib.contextmanager
def fixed_order() -> Generator[None]:
    """Within the block, a backward pass, a GPU adds up in one order.

    Where that is merely wished for (`warn_only`), PyTorch's attention adds its gradients up in any
    order. The kernels that keep one are taken only where it is required.
    """
    wished = torch.are_deterministic_algorithms_enabled()
    if not (wished and _requires_order and torch.cuda.is_available()):
        yield
        return
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=True)


def relax_order(error: RuntimeError) -> bool:
    """Be content with any order from now on, where `error` says that none can be kept.

    Returns:
        False where it is another error, or any order was good enough already.
    """
    global _requires_order
    if not _requires_order or "use_deterministic_algorithms" not in str(error):
        return False
    _requires_order = False
    return True


def flash_attention_available() -> bool:
    """True where FlashAttention 2 can run: its package is installed, with an NVIDIA GPU."""
    if not torch.cuda.is_available() or importlib.util.find_spec("flash_attn") is None:
        return False
    try:
        # FlashAttention 4 brings a module of the same name.
        importlib.metadata.version("flash-attn")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def rehearses_memory() -> bool:
    """True where memory is a device's own, so that the longest batch is worth trying first."""
    return torch.cuda.is_available()


def prepare_process() -> None:
    """Set what makes runs repeatable and CPU training fast; call once before training.

    glibc returns every large freed block to the kernel, and each training step then faults the
    same pages in again. Keeping them measured 1.2 times the speed on a 4M-parameter model.
    """
    global _requires_order
    _requires_order = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    # FlashAttention's package has a switch of its own.
    os.environ.setdefault("FLASH_ATTENTION_DETERMINISTIC", "1")
    settle_attention()
    # Filling every new tensor with NaN is a help in debugging, and takes time in each step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    limit_threads()
    if sys.platform == "linux" and not torch.cuda.is_available():
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # mallopt(3)
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(mmap_threshold, 1 << 30)
            libc.mallopt(trim_threshold, 2**31 - 1)
            libc.mallopt(top_pad, 1 << 26)


def prepare_scoring() -> None:
    """Let every model be scored by the same kernels, whatever this process has trained before."""
    allow_tf32(False)
    settle_attention()


def settle_attention() -> None:
    """Leave out cuDNN's attention on a GPU: its gradients have no fixed order.

    It also plans anew for each length that it meets, and packed rows bring a new one all the time.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def limit_threads() -> None:
    """No more threads than the cores that this process may use, unless the user says how many.

    torch counts the machine's cores, also where a container is granted two of sixty-four.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), read_processor(CPUINFO).cores))


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
