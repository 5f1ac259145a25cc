"""Experiment trackers, through accelerate; everything stays on this machine unless asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from luthier.errors import TrainingError
from luthier.recipe.schema import Recipe

PROJECT = "luthier"


def describe_trackers(recipe: Recipe, run_folder: Path) -> dict[str, dict[str, Any]]:
    """accelerate's `init_kwargs` for each tracker of the recipe; wandb is offline unless told."""
    known: dict[str, dict[str, Any]] = {
        "tensorboard": {},
        "wandb": {
            "mode": recipe.wandb_mode or "offline",
            "dir": str(run_folder),
            "name": recipe.wandb_name,
            "entity": recipe.wandb_entity,
        },
        "mlflow": {},
    }
    return {tracker: known[tracker] for tracker in recipe.report_to}


def check_trackers(accelerator: Any, recipe: Recipe) -> None:
    """Raise TrainingError when a tracker of the recipe is not installed."""
    started = {str(tracker) for tracker in accelerator.log_with}
    missing = [tracker for tracker in recipe.report_to if tracker not in started]
    if missing:
        raise TrainingError(
            f"report_to: {', '.join(missing)} is not installed. "
            "Run `pip install 'luthier[trackers]'`, or remove it."
        )


def start_trackers(
    accelerator: Any, recipe: Recipe, run_folder: Path, settings: dict[str, Any]
) -> None:
    """Start the recipe's trackers and give them its settings.

    Raises:
        TrainingError: a tracker refuses (a server that does not answer, a name it does not take).
    """
    if not recipe.report_to:
        return
    environment = {"WANDB_SILENT": "true"}
    if "mlflow" in recipe.report_to:
        environment |= describe_mlflow(recipe, run_folder)
    flat = {
        key: value if isinstance(value, int | float | str | bool) else str(value)
        for key, value in settings.items()
    }
    own = describe_trackers(recipe, run_folder)
    with set_environment(environment):
        try:
            accelerator.init_trackers(recipe.wandb_project or PROJECT, flat, init_kwargs=own)
        except Exception as error:
            # Each tracker has exceptions of its own.
            names = ", ".join(recipe.report_to)
            raise TrainingError(f"report_to: {names} could not be started: {error}") from error


def describe_mlflow(recipe: Recipe, run_folder: Path) -> dict[str, str]:
    """mlflow's environment: accelerate's tracker has no argument for where it writes.

    It writes into the run's folder, unless the recipe says otherwise.
    """
    import mlflow

    # Its stores are opened anew while logging, so this stays set. A database would need a server's
    # packages; a folder is all that one run wants.
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    mlflow.set_tracking_uri(
        recipe.mlflow_tracking_uri or (run_folder / "mlruns").absolute().as_uri()
    )
    return {"MLFLOW_EXPERIMENT_NAME": recipe.mlflow_experiment_name or PROJECT}


@contextlib.contextmanager
def set_environment(values: dict[str, str]) -> Generator[None]:
    """Set environment variables within the block."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
