"""A study whose arms train on from one another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from driven_study import Driven

from luthier.recipe.load import load_recipe


@pytest.fixture
def staged_text(study_text: str) -> str:
    return study_text.replace(
        "seeds: [3]",
        "  second: {after: lora, adapter: lora, lora_r: 2, lora_alpha: 4,"
        " lora_target_linear: true}\nseeds: [3, 4]",
    ).replace("tasks: [classification, perplexity]", "tasks: [classification]")


def test_a_stage_starts_from_the_run_of_its_own_seed(
    driven: Callable[[str], Driven], staged_text: str
) -> None:
    study = driven(staged_text)
    study.run()
    for seed in (3, 4):
        planned = load_recipe(study.folder / f"second/seed-{seed}/planned.yaml").recipe
        assert Path(planned.base_model) == (study.folder / f"lora/seed-{seed}").resolve()
        assert (study.folder / f"second/seed-{seed}/eval/classification.json").exists()
    study.run()
    assert study.said == [
        f"{run}: already done"
        for run in ("base", *(f"{a} seed {s}" for a in ("full", "lora", "second") for s in (3, 4)))
    ]


def test_a_stage_whose_first_stage_failed_says_so(
    driven: Callable[[str], Driven], staged_text: str
) -> None:
    study = driven(staged_text.replace("lora_r: 2,", "lora_r: 2, lora_target_modules: nothing,", 1))
    outcome = study.run()
    assert {run.title for run in outcome.failed} >= {"lora seed 3", "second seed 3"}
    error = json.loads((study.folder / "second/seed-3/error.json").read_text())
    assert error["message"] == (
        "second seed 3 trains on from lora seed 3, which failed. Mend that run first."
    )
