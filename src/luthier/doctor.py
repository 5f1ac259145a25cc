"""`luthier doctor`: what is here, what is missing and how to get it."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from luthier.device import (
    describe_device,
    describe_processor,
    flash_attention_available,
)
from luthier.models.places import EMBEDDED_FOLDER
from luthier.precision import decide
from luthier.provenance import PACKAGES, list_versions

OPTIONAL = {
    "tensorboard": "pip install 'luthier[trackers]', for report_to: tensorboard",
    "wandb": "pip install 'luthier[trackers]', for report_to: wandb",
    "mlflow": "pip install 'luthier[trackers]', for report_to: mlflow",
    "peft": "pip install 'luthier[dev]', only to test against",
    "trl": "pip install 'luthier[dev]', only for the benchmarks",
}
GIB = 2**30


class Finding(NamedTuple):
    topic: str
    state: str
    mend: str = ""  # empty when all is well


def examine() -> list[Finding]:
    """Everything worth knowing before a run, in the order in which it is shown."""
    device = describe_device()
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(Path.cwd())
    findings = [Finding("python", platform.python_version())]
    findings += [Finding(name, version) for name, version in list_versions(PACKAGES).items()]
    findings += [
        Finding("processor", describe_processor()),
        Finding("memory", f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"),
        Finding("disk here", f"{disk.free / GIB:.0f} GiB free", _disk_mend(disk.free)),
        Finding("device", f"{device.name} × {device.devices}", _device_mend(device.kind)),
        Finding("precision", _describe_precision()),
        Finding("attention", _describe_attention(device.kind)),
        Finding("embedded model", *_examine_embedded()),
    ]
    for package, how in OPTIONAL.items():
        if importlib.util.find_spec(package) is None:
            findings.append(Finding(package, "not installed", how))
    return findings


def _disk_mend(free_bytes: int) -> str:
    return "" if free_bytes > 2 * GIB else "free some space: a run writes checkpoints"


def _device_mend(kind: str) -> str:
    if kind != "cpu":
        return ""
    if torch.version.cuda is None:
        return "no GPU build of torch; on a GPU machine install one from pytorch.org"
    return "no GPU found; check `nvidia-smi`"


def _describe_precision() -> str:
    decision = decide("auto")
    return f"{decision.precision} ({decision.why})"


def _describe_attention(kind: str) -> str:
    if flash_attention_available():
        return "FlashAttention is there"
    if kind == "cuda":
        return "PyTorch's own (pip install flash-attn for FlashAttention)"
    return "PyTorch's own"


def _examine_embedded() -> tuple[str, str]:
    if (EMBEDDED_FOLDER / "model.safetensors").exists():
        return "there", ""
    return (
        "missing",
        "python scripts/pretrain_embedded.py --output src/luthier/models/embedded builds it",
    )
