"""Checkpoints: everything a killed run needs to end as if it had not been killed.

A checkpoint holds the trained weights, the optimizer's state and the loop's state. The base model
is not in it, nor any generator's state: data order and randomness are functions of seed and step.
Each is written into a hidden folder and renamed, so that a checkpoint is whole or absent.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from luthier.adapters.attached import AttachedAdapter
from luthier.errors import OutputError
from luthier.files import read_json, remove_staged, staged_directory, write_json

if TYPE_CHECKING:
    from luthier.train.loop import LoopState

WEIGHTS, OPTIMIZER, STATE, BEST = "weights.safetensors", "optimizer.pt", "state.json", "best"


class SavedState(NamedTuple):
    folder: Path
    loop: dict[str, Any]


class Checkpoints:
    """The `checkpoints/` folder of one run.

    Args:
        keep: how many checkpoints stay on disk.
        writes: whether this process writes (only one of several does).
        wait: called after writing, so that no process runs ahead of the file.
    """

    def __init__(self, folder: Path, keep: int, writes: bool, wait: Callable[[], None]) -> None:
        self.folder = folder
        self.keep = keep
        self.writes = writes
        self.wait = wait

    def save(self, state: LoopState, adapter: AttachedAdapter, optimizer: Any) -> None:
        """Write `step-NNNNNN`, then drop the oldest beyond `keep`."""
        if self.writes:
            with staged_directory(self.folder / f"step-{state.step:06d}") as staged:
                save_file(_snapshot(adapter), staged / WEIGHTS)
                torch.save(optimizer.state_dict(), staged / OPTIMIZER)
                write_json(staged / STATE, _finite(asdict(state)))
            for old in list_checkpoints(self.folder)[: -self.keep]:
                shutil.rmtree(old)
        self.wait()

    def save_best(self, adapter: AttachedAdapter) -> None:
        """Keep the weights of the best validation so far, for early stopping."""
        if self.writes:
            with staged_directory(self.folder / BEST) as staged:
                save_file(_snapshot(adapter), staged / WEIGHTS)
        self.wait()

    def load_best(self, adapter: AttachedAdapter) -> None:
        """Go back to the weights of the best validation."""
        load_weights(adapter, self.folder / BEST)

    def newest(self) -> SavedState | None:
        """The newest complete checkpoint, after clearing what a killed process left."""
        if self.writes:
            remove_staged(self.folder)
        self.wait()
        found = list_checkpoints(self.folder)
        return read_checkpoint(found[-1]) if found else None


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def read_checkpoint(folder: Path) -> SavedState:
    """The loop's state in `folder`; raises OutputError when it is no checkpoint."""
    if not (folder / STATE).is_file():
        raise OutputError(f"{folder} is not a checkpoint: it has no {STATE}.")
    state = read_json(folder / STATE)
    return SavedState(folder, {k: float(v) if isinstance(v, str) else v for k, v in state.items()})


@torch.no_grad()
def load_weights(adapter: AttachedAdapter, folder: Path) -> None:
    """Copy the saved weights into the trained parameters, in place."""
    tensors = load_file(folder / WEIGHTS)
    if set(tensors) != set(adapter.parameters):
        raise OutputError(
            f"{folder} was written by a run that trained other parameters. Choose another "
            "--output, or delete it to start anew."
        )
    for name, parameter in adapter.parameters.items():
        parameter.copy_(tensors[name])
    adapter.refresh()


def load_optimizer(optimizer: Any, folder: Path) -> None:
    """Restore the optimizer's moments and rates."""
    optimizer.load_state_dict(torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True))


def _snapshot(adapter: AttachedAdapter) -> dict[str, torch.Tensor]:
    # A tied weight stands once in `parameters`, so no two tensors share memory here.
    return {name: p.detach().cpu().contiguous() for name, p in adapter.parameters.items()}


def _finite(state: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: such floats travel as strings."""
    return {
        key: str(value) if isinstance(value, float) and not abs(value) < float("inf") else value
        for key, value in state.items()
    }
