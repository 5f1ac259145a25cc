"""A small recipe to train with, and what a run's folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.recipe.load import parse_recipe
from luthier.recipe.schema import Recipe
from luthier.train.run import TrainOptions, train_recipe

LORA: dict[str, Any] = {
    "adapter": "lora",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_target_linear": True,
}
USUAL: dict[str, Any] = {
    "learning_rate": 5e-3,
    "micro_batch_size": 4,
    "max_steps": 6,
    "logging_steps": 1,
    "sequence_len": 256,
    "bf16": False,
}


def make_recipe(base: Path | str, data: Path, **changes: Any) -> Recipe:
    """The usual small recipe; a change to None takes the key out."""
    values = {"base_model": str(base), "datasets": [{"path": str(data)}], **USUAL, **changes}
    return parse_recipe({key: value for key, value in values.items() if value is not None}).recipe


def train(recipe: Recipe, output: Path, *, resume: bool = False) -> Path:
    return train_recipe(recipe, output, TrainOptions(resume=resume))


def read_lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def read_losses(output: Path) -> list[float]:
    return [line["loss"] for line in read_lines(output) if "loss" in line]


def read_done(output: Path) -> dict[str, Any]:
    return json.loads((output / "done.json").read_text())
