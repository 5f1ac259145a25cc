"""Checkpoints of the pre-training: whole or not there, known by their digest, the last two kept.

FOLDER/step-0000250/state.pt        weights, both optimizers, counters, the best weights so far
                    sha256          of state.pt
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import torch

from luthier.files import remove_directory, remove_staged, staged_directory

KEPT = 2


class Checkpoint(NamedTuple):
    values: dict[str, Any]
    damaged: list[str]  # newer ones that could not be read, set aside


def save_checkpoint(folder: Path, step: int, values: dict[str, Any]) -> None:
    """Write one checkpoint atomically; then drop all but the newest two."""
    buffer = io.BytesIO()
    torch.save(values, buffer)
    content = buffer.getvalue()
    with staged_directory(folder / f"step-{step:07d}") as staged:
        (staged / "state.pt").write_bytes(content)
        (staged / "sha256").write_text(hashlib.sha256(content).hexdigest() + "\n")
    for old in _list_newest_first(folder)[KEPT:]:
        remove_directory(old)


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, on the host; None where there is none.

    A damaged one is named, set aside as `damaged-…`, and the one before it is taken.
    """
    if not folder.exists():
        return None
    remove_staged(folder)
    damaged: list[str] = []
    for place in _list_newest_first(folder):
        fault = _find_fault(place)
        if fault is None:
            values = torch.load(place / "state.pt", map_location="cpu", weights_only=True)
            return Checkpoint(values, damaged)
        aside = place.with_name(f"damaged-{place.name}")
        print(f"{place}: {fault}; set aside, going on from the one before it.", flush=True)
        if aside.exists():
            remove_directory(aside)
        place.rename(aside)
        damaged.append(f"{place.name}: {fault}")
    return Checkpoint({}, damaged) if damaged else None


def _find_fault(place: Path) -> str | None:
    try:
        stated = (place / "sha256").read_text().strip()
        found = hashlib.sha256((place / "state.pt").read_bytes()).hexdigest()
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except UnicodeDecodeError:
        return "sha256 is damaged"
    return None if stated == found else "state.pt is damaged (its SHA-256 is another)"


def _list_newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)
