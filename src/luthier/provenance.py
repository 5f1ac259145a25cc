"""Where a result comes from: versions, git revision, hardware, digests."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from luthier.device import describe_device, describe_processor

PACKAGES = (
    "luthier",
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "safetensors",
    "datasets",
    "numpy",
)


def describe_environment() -> dict[str, Any]:
    """Versions, hardware and the git revision of the current directory, as JSON values."""
    device = describe_device()
    return {
        "versions": {"python": platform.python_version(), **list_versions(PACKAGES)},
        "hardware": {
            "system": platform.platform(),
            "processor": describe_processor(),
            "device": device.kind,
            "device_name": device.name,
            "device_count": device.devices,
            "memory_bytes": device.memory_bytes,
        },
        "git_revision": find_git_revision(),
    }


def list_versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed version of each package; those that are missing are left out."""
    versions: dict[str, str] = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def find_git_revision() -> str | None:
    """The commit checked out here, with `-dirty` after uncommitted changes; None outside git."""
    try:
        revision = _git("rev-parse", "HEAD")
        return f"{revision}-dirty" if _git("status", "--porcelain", "-uno") else revision
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(
        # Without the lock: a run must not stand in the way of somebody's commit.
        ["git", "--no-optional-locks", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout.strip()


def digest_texts(texts: Iterable[str]) -> str:
    """SHA-256 over texts and their boundaries."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", errors="surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def digest_model(folder: Path) -> str | None:
    """SHA-256 over the weight files of a local model folder; None for a hub id."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
