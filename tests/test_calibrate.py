"""Real steps, measured here and found again by a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from luthier.calibrate import FEWEST_STEPS, WARM_UP_STEPS, calibrate
from luthier.errors import TrainingError
from luthier.plan.amounts.tokens import count_tokens
from luthier.plan.machine.devices import build_machine, describe_this_machine
from luthier.plan.model.model_config import read_facts
from luthier.plan.time.calibration import find_calibration, read_calibrations
from luthier.plan.time.estimate import estimate_time
from luthier.plan.work.workload_build import build_workload
from luthier.recipe.load import parse_recipe
from luthier.recipe.schema import Recipe

LORA: dict[str, Any] = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_target_linear": True}


def make_recipe(base: Path, data: Path, **changes: Any) -> Recipe:
    values = {
        "base_model": str(base),
        "datasets": [{"path": str(data)}],
        "learning_rate": 1e-3,
        "micro_batch_size": 4,
        "sequence_len": 256,
        **changes,
    }
    return parse_recipe(values).recipe


def test_a_later_plan_takes_what_was_measured(
    tiny_base: Path, chat_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "new" / "calibrations.jsonl"
    monkeypatch.setenv("LUTHIER_CALIBRATIONS", str(store))
    recipe = make_recipe(tiny_base, chat_file, val_set_size=4, eval_steps=1, **LORA)
    calibration = calibrate(recipe, steps=8)
    assert calibration.steps == 8 - WARM_UP_STEPS
    assert calibration.peak_memory_bytes > 2**20
    assert read_calibrations(store) == [calibration]

    facts = read_facts(str(tiny_base))
    machine = build_machine(describe_this_machine(), 1, "none", None)
    workload = build_workload(recipe, facts, count_tokens(recipe))
    found = find_calibration(workload, machine)
    assert found is not None
    time = estimate_time(workload, machine)
    assert time.tokens_per_second == found.tokens_per_second
    # Nothing of the run is left but the line.
    assert [item.name for item in store.parent.iterdir()] == [store.name]


def test_a_new_projection_is_measured_apart(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, chat_file, optimizer="galore_adamw", galore_rank=4)
    calibration = calibrate(recipe, steps=9, store=tmp_path / "calibrations.jsonl")
    # Of 9 steps every third projects anew: numbers 3 and 6, after three of warm-up.
    assert calibration.steps == 4
    assert calibration.projection_seconds >= 0


def test_too_few_steps_are_refused_with_the_least_number(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **LORA)
    with pytest.raises(TrainingError, match=f"--steps {FEWEST_STEPS}"):
        calibrate(recipe, steps=WARM_UP_STEPS, store=tmp_path / "calibrations.jsonl")
