"""Predicted beside measured, on a study of 90 seconds and 700 MiB a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from luthier.report import read_study, render_markdown, write_report
from luthier.report.predictions import read_predictions
from luthier.report.tables import render_terminal_table

# 0.02 h = 72 s against 90 s; 0.6836 GiB = 700 MiB as measured; $10/h: $0.20 against $0.25.
FULL: dict[str, Any] = {
    "name": "full",
    "machine": {"gpu": "L40S", "gpus": 1, "usd_per_hour": 10.0},
    "memory": {"allocated_gib": 700 / 1024, "basis": {"allocated_gib": "computed: by hand"}},
    "time": {"train_hours": 0.02, "evaluation_hours": 7.0, "basis": {"train_hours": "assumed"}},
    "cost": {"usd": 70.2},
}


def plan(directory: Path, *arms: dict[str, Any]) -> None:
    text = json.dumps({"arms": list(arms)})
    (directory / "plan.json").write_text(text, encoding="utf-8")


def test_time_memory_and_cost_are_set_beside_what_was_measured(study_directory: Path) -> None:
    plan(study_directory, FULL)
    (arm,) = read_predictions(read_study(study_directory)).arms
    assert arm.arm == "full"
    found = {item.what: (item.planned, item.measured, item.off) for item in arm.comparisons}
    assert found["training time"] == ("1 min 12 s", "1 min 30 s", pytest.approx(0.25))
    assert found["peak memory"] == ("700 MiB", "700 MiB", pytest.approx(0.0))
    assert found["cost of training"] == ("$0.200", "$0.250", pytest.approx(0.25))
    assert [item.basis for item in arm.comparisons] == ["assumed", "computed: by hand", ""]


def test_without_a_plan_nothing_is_shown(study_directory: Path) -> None:
    assert read_predictions(read_study(study_directory)).arms == ()
    assert "Predicted and measured" not in write_report(study_directory).read_text("utf-8")
    assert "planned" not in render_markdown(read_study(study_directory))


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"arms": 3}', '{"arms": [3, {"name": "full"}]}'])
def test_a_damaged_plan_is_as_good_as_none(study_directory: Path, text: str) -> None:
    (study_directory / "plan.json").write_text(text, encoding="utf-8")
    assert read_predictions(read_study(study_directory)).arms == ()


def test_an_arm_that_has_not_ended_is_left_out(study_directory: Path) -> None:
    plan(study_directory, FULL)
    (study_directory / "full" / "seed-7" / "done.json").unlink()
    assert read_predictions(read_study(study_directory)).arms == ()


def test_a_figure_that_the_plan_does_not_know_is_left_out(study_directory: Path) -> None:
    unpriced = {**FULL, "machine": {"gpu": "L40S", "gpus": 1, "usd_per_hour": None}}
    unpriced["time"] = {"train_hours": None}
    plan(study_directory, unpriced)
    (arm,) = read_predictions(read_study(study_directory)).arms
    assert [item.what for item in arm.comparisons] == ["peak memory"]


@pytest.mark.parametrize(
    ("hardware", "note"),
    [
        ({"device": "cuda", "device_name": "NVIDIA L40S", "device_count": 1}, None),
        (
            {"device": "cuda", "device_name": "NVIDIA H200", "device_count": 1},
            "Planned for 1 × L40S, run on 1 × NVIDIA H200.",
        ),
        (
            {"device": "cuda", "device_name": "NVIDIA L40S", "device_count": 2},
            "Planned for 1 × L40S, run on 2 × NVIDIA L40S.",
        ),
        (
            {"device": "cpu", "device_name": "AMD EPYC (2 threads)", "device_count": 1},
            "Planned for 1 × L40S, run on 1 × AMD EPYC (2 threads).",
        ),
        ({}, None),
    ],
)
def test_a_plan_for_another_machine_is_said_to_be_one(
    study_directory: Path, hardware: dict[str, Any], note: str | None
) -> None:
    plan(study_directory, FULL)
    provenance = study_directory / "full" / "seed-7" / "provenance.json"
    provenance.write_text(json.dumps({"hardware": hardware}), encoding="utf-8")
    assert read_predictions(read_study(study_directory)).notes == ((note,) if note else ())


def test_a_plan_for_this_kind_of_processor_needs_no_note(study_directory: Path) -> None:
    plan(study_directory, {**FULL, "machine": {"gpu": "AMD EPYC", "gpus": 1}})
    provenance = study_directory / "full" / "seed-7" / "provenance.json"
    hardware = {"device": "cpu", "device_name": "AMD EPYC (2 threads)"}
    provenance.write_text(json.dumps({"hardware": hardware}), encoding="utf-8")
    assert read_predictions(read_study(study_directory)).notes == ()


def test_page_markdown_and_terminal_show_the_same_figures(study_directory: Path) -> None:
    plan(study_directory, FULL, {**FULL, "name": "<script>"})
    results = read_study(study_directory)
    page = write_report(study_directory).read_text(encoding="utf-8")
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(render_terminal_table(results))
    terminal = console.export_text()
    for text in (page, render_markdown(results), terminal):
        assert "1 min 12 s" in text
        assert "+25%" in text
    assert max(len(line) for line in terminal.splitlines()) <= 80
    assert "<script>" not in page.replace("&lt;script&gt;", "")
