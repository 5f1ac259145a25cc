"""The recipes that are planned, calibrated and trained: ordinary ones, on generated rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from benchmarks.gpu.cases import METHODS, SEED, Method

from luthier import api

PAIRS = 300
# Tokens of a generated row, about: so many are generated that there is no second epoch.
ROW_TOKENS = {"full": 1_000, "compact": 250}


class PlanCase(NamedTuple):
    """One recipe.

    Attributes:
        sequence_len: tokens of a packed row; the most of a conversation where there are pairs.
        micro_batch_size: rows of a step, or pairs.
        steps: that are trained; the first few are not counted.
        style: of the generated rows: about a thousand tokens each, or 250.
    """

    shape: str
    method: Method
    sequence_len: int
    micro_batch_size: int
    steps: int
    checkpointing: bool = False
    style: Literal["full", "compact"] = "full"

    @property
    def name(self) -> str:
        ending = ", checkpointing" if self.checkpointing else ""
        ending += ", short rows" if self.style == "compact" else ""
        return f"{self.shape} {self.method} {self.micro_batch_size} x {self.sequence_len}{ending}"


# In order of importance; a full 8B model is planned only where it cannot run.
CASES = (
    PlanCase("8b", "lora", 2_048, 2, 20),
    PlanCase("1.5b", "full", 2_048, 4, 30),
    PlanCase("8b", "qlora", 2_048, 2, 20),
    PlanCase("1.5b", "dpo", 2_048, 4, 30),
    PlanCase("0.5b", "full", 2_048, 4, 40),
    PlanCase("8b", "lora", 2_048, 2, 20, style="compact"),
    PlanCase("8b", "dora", 2_048, 2, 20),
    PlanCase("8b", "lora", 2_048, 4, 15, checkpointing=True),
    PlanCase("8b", "full", 2_048, 2, 20),
    PlanCase("0.5b", "lora", 2_048, 4, 40),
    PlanCase("1.5b", "qlora", 2_048, 4, 30),
    PlanCase("7b", "lora", 2_048, 2, 20),
    PlanCase("8b", "dpo", 2_048, 2, 20),
)
SMALL_CASES = (
    PlanCase("tiny", "lora", 512, 1, 8, style="compact"),
    PlanCase("tiny", "full", 512, 1, 8, style="compact"),
)


def write_recipe(case: PlanCase, model: Path, folder: Path) -> Path:
    """The recipe as a user would write it, with its rows beside it where they are pairs."""
    values: dict[str, Any] = {
        "base_model": str(model),
        "datasets": [choose_rows(case, folder)],
        "sequence_len": case.sequence_len,
        "micro_batch_size": case.micro_batch_size,
        "max_steps": case.steps,
        "learning_rate": 1e-5 if case.method == "full" else 1e-4,
        "logging_steps": 1,
        "seed": SEED,
        **METHODS[case.method],
    }
    if case.method != "dpo":
        values["sample_packing"] = True
    if case.checkpointing:
        values["gradient_checkpointing"] = True
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return file


def choose_rows(case: PlanCase, folder: Path) -> Mapping[str, Any]:
    """A dataset of the recipe: enough rows for its steps, without a file where it needs none."""
    if case.method == "dpo":
        return {"path": str(write_pairs(folder)), "type": "preference"}
    tokens = case.steps * case.micro_batch_size * case.sequence_len
    return {
        "generate": "elle",
        "level": "cic",
        "style": case.style,
        "seed": SEED,
        "count": max(50, tokens // ROW_TOKENS[case.style]),
    }


def write_pairs(folder: Path) -> Path:
    """Preference pairs of about 1,700 tokens, the prompt counted once."""
    rows, pairs = folder / "rows.jsonl", folder / "pairs.jsonl"
    api.write_elle(rows, level="cic", style="full", count=PAIRS, seed=SEED)
    api.write_preferences(pairs, rows=rows)
    return pairs
