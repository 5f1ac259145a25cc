"""Measurements of this machine, found again for a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import PlanError
from luthier.plan.amounts.tokens import TokenCount
from luthier.plan.figure import Figure
from luthier.plan.machine.devices import build_machine, find_device
from luthier.plan.model.model_config import read_facts
from luthier.plan.time.calibration import (
    Calibration,
    Load,
    describe_calibration,
    describe_machine,
    describe_method,
    describe_model,
    find_calibration,
    find_store,
    read_calibrations,
)
from luthier.plan.time.estimate import estimate_time
from luthier.plan.time.step_time import estimate_step
from luthier.plan.work.workload import Workload
from luthier.plan.work.workload_build import build_workload
from luthier.recipe.load import parse_recipe

A100 = build_machine(find_device("A100-80GB"), 1, "none", None)
LORA: dict[str, Any] = {
    "adapter": "lora",
    "lora_r": 16,
    "lora_alpha": 16,
    "lora_target_linear": True,
}
LOAD = Load(800.0, 800.0, 200.0, 0.5, 1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "luthier" / "calibrations.jsonl"
    monkeypatch.setenv("LUTHIER_CALIBRATIONS", str(file))
    file.parent.mkdir()
    return file


def build(tokens: float = 200, **keys: Any) -> Workload:
    values = {
        "base_model": "embedded",
        "learning_rate": 1e-4,
        "datasets": [{"path": "rows.jsonl"}],
        "micro_batch_size": 4,
        **keys,
    }
    counts = TokenCount(
        Figure(1000, "given"),
        Figure(tokens, "given"),
        Figure(tokens, "given"),
        Figure(0.5, "given"),
    )
    return build_workload(parse_recipe(values).recipe, read_facts("embedded"), counts)


def measure(workload: Workload, seconds: float, **changes: Any) -> Calibration:
    return Calibration(
        machine=describe_machine(A100.device, 1, "none"),
        model=describe_model(workload.facts),
        method=describe_method(workload.recipe),
        load=LOAD,
        steps=12,
        step_seconds=seconds,
        projection_seconds=0.0,
        peak_memory_bytes=3 * 2**30,
        date="2026-11-20T17:00:00+00:00",
    )._replace(**changes)


def write(store: Path, *calibrations: Calibration) -> None:
    lines = [json.dumps(describe_calibration(item)) + "\n" for item in calibrations]
    store.write_text("".join(lines), encoding="utf-8")


def test_what_is_written_is_read_back(store: Path) -> None:
    calibration = measure(build(**LORA), 0.5)
    write(store, calibration)
    assert read_calibrations(find_store()) == [calibration]


def test_the_same_load_on_the_same_machine_is_measured(store: Path) -> None:
    write(store, measure(build(**LORA), 9.0), measure(build(**LORA), 0.5))
    found = find_calibration(build(**LORA), A100)
    assert found is not None
    assert found.tokens_per_second.value == 800 / 0.5
    assert found.tokens_per_second.basis == "measured"
    assert "12 steps on this machine, 2026-11-20" in found.tokens_per_second.source
    assert found.peak_gib is not None
    assert found.peak_gib.value == 3


def test_a_plan_uses_it_without_being_asked(store: Path) -> None:
    write(store, measure(build(**LORA), 0.5))
    time = estimate_time(build(**LORA), A100)
    assert time.tokens_per_second.value == 1600
    assert time.train_hours.value == pytest.approx(1000 * 200 / 1600 / 3600)


def test_what_decides_speed_must_agree_and_what_does_not_need_not(store: Path) -> None:
    write(store, measure(build(**LORA), 0.5))
    assert find_calibration(build(**{**LORA, "lora_r": 8}), A100) is None
    assert find_calibration(build(peft_use_dora=True, **LORA), A100) is None
    assert find_calibration(build(gradient_checkpointing=True, **LORA), A100) is None
    other = build_machine(find_device("H200"), 1, "none", None)
    assert find_calibration(build(**LORA), other) is None
    changed = build(**{**LORA, "learning_rate": 3e-4, "seed": 7, "num_epochs": 5})
    assert find_calibration(changed, A100) is not None
    assert find_calibration(build(**LORA)._replace(engine="transformers"), A100) is None


def test_another_load_is_scaled_by_the_model_of_a_step(store: Path) -> None:
    here, there = build(**LORA), build(tokens=800, gradient_accumulation_steps=2, **LORA)
    modelled = estimate_step(here, A100).seconds.value
    write(store, measure(here, 2 * modelled))
    found = find_calibration(there, A100)
    assert found is not None
    # Twice as slow as modelled here, so twice as slow there.
    expected = 2 * estimate_step(there, A100).seconds.value
    assert found.tokens_per_second.value == pytest.approx(2 * 4 * 800 / expected)
    assert found.tokens_per_second.basis == "computed"
    assert "from a calibration" in found.tokens_per_second.source
    assert found.peak_gib is None


def test_a_new_projection_s_time_is_spread_over_the_run(store: Path) -> None:
    galore: dict[str, Any] = {"optimizer": "galore_adamw", "galore_rank": 8}
    write(store, measure(build(**galore), 0.5, projection_seconds=10.0))
    found = find_calibration(build(galore_update_proj_gap=100, **galore), A100)
    assert found is not None
    # 250 steps with one in the first, one after 100 and one after 200.
    assert found.tokens_per_second.value == pytest.approx(800 / (0.5 + 10.0 * 3 / 250))


def test_a_line_that_is_no_calibration_is_named_with_its_file(store: Path) -> None:
    store.write_text('{"version": 1, "steps": 3}\n', encoding="utf-8")
    with pytest.raises(PlanError, match=r"calibrations\.jsonl: a line is no calibration"):
        find_calibration(build(**LORA), A100)


def test_the_store_lies_in_the_user_s_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUTHIER_CALIBRATIONS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert find_store() == Path("/data/luthier/calibrations.jsonl")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert find_store() == Path.home() / ".local/share/luthier/calibrations.jsonl"
