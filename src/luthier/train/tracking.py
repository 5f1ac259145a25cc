"""Experiment trackers, through accelerate; everything stays on this machine unless asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from luthier.errors import TrainingError
from luthier.recipe.schema import Recipe


def describe_trackers(recipe: Recipe, run_folder: Path) -> dict[str, dict[str, Any]]:
    """accelerate's `init_kwargs` for each tracker of the recipe.

    wandb is offline and mlflow writes into the run's folder, unless the recipe says otherwise.
    """
    known: dict[str, dict[str, Any]] = {
        "tensorboard": {},
        "wandb": {
            "mode": recipe.wandb_mode or "offline",
            "dir": str(run_folder),
            "name": recipe.wandb_name,
            "entity": recipe.wandb_entity,
        },
        "mlflow": {
            "tracking_uri": recipe.mlflow_tracking_uri or f"sqlite:///{run_folder / 'mlflow.db'}",
            "experiment_name": recipe.mlflow_experiment_name or "luthier",
        },
    }
    return {tracker: known[tracker] for tracker in recipe.report_to}


def start_trackers(
    accelerator: Any, recipe: Recipe, run_folder: Path, settings: dict[str, Any]
) -> None:
    """Start the recipe's trackers; raises TrainingError when one is not installed."""
    if not recipe.report_to:
        return
    trackers = describe_trackers(recipe, run_folder)
    started = {tracker.name for tracker in accelerator.log_with}
    missing = [tracker for tracker in trackers if tracker not in started]
    if missing:
        raise TrainingError(
            f"report_to: {', '.join(missing)} is not installed. "
            "Run `pip install 'luthier[trackers]'`, or remove it."
        )
    os.environ.setdefault("WANDB_SILENT", "true")
    flat = {
        key: value if isinstance(value, int | float | str | bool) else str(value)
        for key, value in settings.items()
    }
    accelerator.init_trackers(recipe.wandb_project or "luthier", flat, init_kwargs=trackers)
