"""Checkpoints: everything a killed run needs to end as if it had not been killed.

A checkpoint holds the trained weights, the optimizer's state and the loop's state. The base model
is not in it, nor any generator's state: data order and randomness are functions of seed and step.
Each is written into a hidden folder and renamed, so that a checkpoint is whole or absent.

Where restarts change the frozen weights, these are written at each restart into `merged-NNNNNN`,
and a checkpoint names the one that it stands on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.tensor_files import explained_tensor_errors
from luthier.errors import OutputError, TrainingError
from luthier.files import (
    read_json,
    remove_directory,
    remove_staged,
    staged_directory,
    write_json,
)
from luthier.train.state import LoopState

WEIGHTS, OPTIMIZER, STATE, BEST = "weights.safetensors", "optimizer.pt", "state.json", "best"
MERGED = "merged-"
# JSON has none of these: such floats travel as strings.
NO_NUMBERS = {str(value): value for value in (math.inf, -math.inf, math.nan)}


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
                _write_weights(adapter, staged)
                with explained_tensor_errors(self.folder):
                    torch.save(optimizer.state_dict(), staged / OPTIMIZER)
                write_json(staged / STATE, _finite(asdict(state)))
            for old in list_checkpoints(self.folder)[: -self.keep]:
                remove_directory(old)
            self._drop_old_bases(state.base)
        self.wait()

    def save_base(self, name: str, adapter: AttachedAdapter) -> None:
        """Write the frozen weights under `name`, as a restart has left them."""
        assert adapter.base is not None, "only an adapter on a base that moves can restart"
        if self.writes:
            tensors = adapter.base.read()
            _check_numbers(tensors)
            destination = self.folder / name
            with staged_directory(destination) as staged, explained_tensor_errors(destination):
                save_file(tensors, staged / WEIGHTS)
        self.wait()

    def _drop_old_bases(self, current: str | None) -> None:
        """Remove merged weights that no checkpoint stands on any more."""
        standing = list_checkpoints(self.folder)
        needed = {read_checkpoint(folder).loop.get("base") for folder in standing}
        for folder in self.folder.glob(f"{MERGED}*"):
            if folder.name not in needed | {current}:
                remove_directory(folder)

    def save_best(self, adapter: AttachedAdapter) -> None:
        """Keep the weights of the best validation so far, for early stopping."""
        if self.writes:
            with staged_directory(self.folder / BEST) as staged:
                _write_weights(adapter, staged)
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


def name_base(step: int) -> str:
    """The name of the weights that the restart after `step` has left."""
    return f"{MERGED}{step:06d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))


def read_checkpoint(folder: Path) -> SavedState:
    """The loop's state in `folder`; raises OutputError when it is no checkpoint."""
    if not (folder / STATE).is_file():
        raise OutputError(f"{folder} is not a checkpoint: it has no {STATE}.")
    state = read_json(folder / STATE)
    return SavedState(
        folder,
        {
            key: NO_NUMBERS.get(value, value) if isinstance(value, str) else value
            for key, value in state.items()
        },
    )


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


def load_base(adapter: AttachedAdapter, checkpoint: Path, name: str) -> None:
    """Put back the frozen weights that `checkpoint` stands on; `load_weights` comes after it."""
    folder = checkpoint.parent / name
    if adapter.base is None or not (folder / WEIGHTS).is_file():
        raise OutputError(
            f"{checkpoint} stands on merged weights in {folder}, which are not there or belong to "
            "another recipe. Restore them, or choose another --output and start anew."
        )
    adapter.base.write(load_file(folder / WEIGHTS))


def load_optimizer(optimizer: Any, folder: Path) -> None:
    """Restore the optimizer's moments; rates and decay stay those of the recipe."""
    own = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True))
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        for key in group.keys() - settings.keys() - {"params"}:
            del group[key]
        group.update(settings)


def _write_weights(adapter: AttachedAdapter, folder: Path) -> None:
    # A tied weight stands once in `parameters`, so no two tensors share memory here.
    tensors = {name: p.detach().cpu().contiguous() for name, p in adapter.parameters.items()}
    _check_numbers(tensors)
    with explained_tensor_errors(folder.parent):
        save_file(tensors, folder / WEIGHTS)


def _check_numbers(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(
                f"{name} is no longer made of numbers. Lower learning_rate, or add warmup_steps. "
                "The last good checkpoint is kept."
            )


def _finite(state: dict[str, Any]) -> dict[str, Any]:
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in state.items()
    }
