"""A run's folder: whose it is, where everything in it comes from, and its result."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from luthier import device, provenance
from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.update_rank import UpdateRank
from luthier.errors import OutputError
from luthier.files import (
    RunLayout,
    explained_output_errors,
    make_directory,
    read_json,
    remove_staged,
    staged_directory,
    write_json,
    write_text,
)
from luthier.models.places import EMBEDDED, digest_base
from luthier.models.quantize import count_parameters
from luthier.precision import Decision
from luthier.recipe.load import dump_recipe, load_recipe, normalised
from luthier.recipe.schema import Recipe
from luthier.train.prepare import PreparedData
from luthier.train.state import LoopState

# Keys that say how a run is gone on with, not what it is.
RESUMING_KEYS = frozenset(
    {"auto_resume_from_checkpoints", "output_dir", "resume_from_checkpoint", "strict"}
)


def check_output(recipe: Recipe, layout: RunLayout, *, resume: bool) -> None:
    """Raise OutputError when another run lies in the folder, or one that may not be touched."""
    with explained_output_errors(layout.root):
        if not layout.recipe.exists():
            return
    if not resume:
        raise OutputError(
            f"{layout.root} already holds a run. Add --resume to go on with it, choose another "
            "--output, or delete it."
        )
    before, now = normalised(load_recipe(layout.recipe).recipe), normalised(recipe)
    keys = {*before, *now} - RESUMING_KEYS
    changed = sorted(key for key in keys if before.get(key) != now.get(key))
    if changed:
        raise OutputError(
            f"{layout.root} holds a run with another {', '.join(changed)}. Choose another "
            "--output, or restore the recipe."
        )


def claim_output(recipe: Recipe, layout: RunLayout, data: PreparedData, settled: Decision) -> None:
    """Freeze the recipe and where everything comes from into the run's folder.

    Raises:
        OutputError: the folder cannot be written, or its run began with other data or weights.
    """
    make_directory(layout.root)
    remove_staged(layout.root)
    origin = describe_origin(recipe, data)
    if layout.provenance.exists():
        before = read_json(layout.provenance)
        for part, what in (("data", "training data"), ("model", "base model")):
            if before[part]["sha256"] != origin[part]["sha256"]:
                raise OutputError(
                    f"{layout.root} holds a run that began with another {what}: it has changed "
                    "since. Restore it, or choose another --output."
                )
    write_text(layout.recipe, dump_recipe(recipe))
    computed = {"precision": settled.precision, "precision_why": settled.why}
    write_json(layout.provenance, {**provenance.describe_environment(), **computed, **origin})


def describe_origin(recipe: Recipe, data: PreparedData) -> dict[str, Any]:
    """Digests of the data and the model that the run starts from."""
    return {
        "data": {
            "sha256": data.digest,
            "training_examples": len(data.training),
            "validation_examples": len(data.validation),
        },
        "model": {
            "name": recipe.base_model,
            "path": _find_folder(recipe.base_model),
            "sha256": digest_base(recipe.base_model),
        },
    }


def _find_folder(base_model: str) -> str | None:
    """Where a local base model lies, so that it is found from another working directory too."""
    folder = Path(base_model)
    return str(folder.resolve()) if base_model != EMBEDDED and folder.exists() else None


def save_result(layout: RunLayout, adapter: AttachedAdapter, tokenizer: Any) -> None:
    """Write the adapter or model, with the tokenizer and chat template it was trained on."""
    with staged_directory(layout.root / adapter.result) as staged:
        adapter.save(staged)
        tokenizer.save_pretrained(staged)


def write_done(
    layout: RunLayout,
    state: LoopState,
    adapter: AttachedAdapter,
    causal: Any,
    rank: UpdateRank | None = None,
) -> None:
    """Write what the run took and came to; then its checkpoints are gone."""
    trainable = sum(parameter.numel() for parameter in adapter.parameters.values())
    added = 0 if adapter.result == "model" else trainable
    write_json(
        layout.done,
        {
            "status": "done",
            "steps": state.step,
            "seconds": state.seconds,
            "tokens": state.tokens,
            "supervised_tokens": state.supervised_tokens,
            "tokens_per_second": state.tokens / max(state.seconds, 1e-9),
            "peak_memory_bytes": device.measure_peak_memory_bytes(),
            "trainable_parameters": trainable,
            "total_parameters": count_parameters(causal) - added,
            "final_loss": state.last_loss,
            "val_loss": state.last_val_loss,
            **({} if rank is None else {"update_rank": rank._asdict()}),
        },
    )
    # Checkpoints exist to survive a crash; the result is on disk now.
    shutil.rmtree(layout.checkpoints, ignore_errors=True)


def find_result(layout: RunLayout) -> Path:
    """The folder with the trained adapter or model of a finished run."""
    return layout.adapter if layout.adapter.exists() else layout.model
