"""Part 3: what the planner says of a run here, beside what the run then takes.

Each recipe is planned before anything is known of this machine, calibrated, planned again and
trained, each by the ordinary verb, and each run in a process of its own. The calibrations go to a
file of this part: the user's own are neither read nor written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gpu.alone import RESERVED
from benchmarks.gpu.plan_cases import CASES, SMALL_CASES, PlanCase, write_recipe
from benchmarks.gpu.record import Record, TimeIsUp
from benchmarks.gpu.shapes import provide_model
from benchmarks.gpu.watch import Watch
from benchmarks.gpu.workers import LONGEST_MESSAGE, ROOT, build_environment

from luthier.files import RunLayout, read_json, read_json_lines
from luthier.plan.inputs import PlanInputs
from luthier.plan.run_plan import RunPlan, plan_run
from luthier.plan.time.calibration import STORE_VARIABLE
from luthier.recipe.load import load_recipe

GIB = 2**30
CALIBRATION_STEPS = 15
# Kernels are chosen and memory is claimed in the first steps.
UNCOUNTED_STEPS = 4
GRACE_SECONDS = 20.0
# What a case takes at most: two processes that load the model, and the steps.
SECONDS_AT_MOST = {"8b": 170.0, "7b": 170.0, "1.5b": 90.0, "0.5b": 75.0, "tiny": 40.0}
NOTES = {
    "predicted": (
        "`luthier plan` for this machine: `before` any calibration, `after` the newest one of just "
        "this recipe. Error: predicted ÷ measured − 1"
    ),
    "allocated": "the most that tensors took, as the run's done.json has it",
    "shown": (
        "the most that nvidia-smi showed while the run trained: of its process where the driver "
        "tells, else of the device, less what was in use before"
    ),
    "tokens_per_second": (
        f"of the steps after the first {UNCOUNTED_STEPS}, by metrics.jsonl; `whole_run` of all"
    ),
}


def run(record: Record) -> None:
    for name, text in NOTES.items():
        record.note(name, text)
    cases = CASES if record.size == "full" else SMALL_CASES
    for case in sorted(cases, key=lambda case: case.name in record.failed_before):
        if record.has(case.name):
            continue
        with (
            record.cell(case.name, SECONDS_AT_MOST[case.shape]) as cell,
            tempfile.TemporaryDirectory(prefix="luthier-gpu-plan-") as name,
        ):
            measure(case, Path(name), cell, record)


def measure(case: PlanCase, folder: Path, cell: dict[str, Any], record: Record) -> None:
    """Plan, calibrate, plan again, train; the cell is filled as far as this comes."""
    recipe = write_recipe(case, provide_model(case.shape), folder)
    with own_store(folder / "calibrations.jsonl"):
        before = plan(recipe)
        cell["fits"] = before.memory.fits
        cell["predicted"] = {"before": describe_plan(before)}
        if before.memory.allocated_gib.value > before.memory.capacity_gib.value:
            cell["left_out"] = "does not fit by plan, and is not tried"
            return
        cell["calibration_seconds"] = run_alone(
            ["calibrate", str(recipe), str(CALIBRATION_STEPS)], folder, record
        )
        cell["predicted"]["after"] = describe_plan(plan(recipe))
        output = folder / "run"
        with Watch() as watch:
            cell["training_seconds"] = run_alone(
                ["train", str(recipe), str(output)], folder, record, watch
            )
        cell["measured"] = describe_run(RunLayout(output), watch)
    cell["errors"] = {
        time: compare(predicted, cell["measured"]) for time, predicted in cell["predicted"].items()
    }


@contextmanager
def own_store(store: Path) -> Generator[None]:
    """Let calibrations of this process and its children go to `store`."""
    before = os.environ.get(STORE_VARIABLE)
    os.environ[STORE_VARIABLE] = str(store)
    try:
        yield
    finally:
        os.environ.pop(STORE_VARIABLE)
        if before is not None:
            os.environ[STORE_VARIABLE] = before


def plan(recipe: Path) -> RunPlan:
    """As `luthier plan RECIPE --gpus 1` works it out."""
    return plan_run(recipe.stem, load_recipe(recipe).recipe, PlanInputs(gpus=1))


def describe_plan(found: RunPlan) -> dict[str, Any]:
    memory, rate = found.memory, found.time.tokens_per_second
    measured = found.measured_gib
    return {
        "allocated_gib": round((measured or memory.allocated_gib).value, 3),
        "shown_gib": round(memory.device_gib.value, 3),
        "tokens_per_second": round(rate.value, 1),
        "basis": {"allocated": (measured or memory.allocated_gib).basis, "speed": rate.basis},
    }


def run_alone(
    arguments: list[str], folder: Path, record: Record, watch: Watch | None = None
) -> float:
    """Run one verb in a process of its own; returns its seconds.

    Raises:
        RuntimeError: it failed, with the end of what it said.
        TimeIsUp: the part's time ended before it did.
    """
    log = folder / f"{arguments[0]}.txt"
    started = time.monotonic()
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu.alone", *arguments]
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, cwd=ROOT, env=build_environment()
        )
    if watch is not None:
        watch.pid = process.pid
    try:
        code = process.wait(max(1.0, record.seconds_left() + GRACE_SECONDS))
    except subprocess.TimeoutExpired as error:
        raise TimeIsUp("a case was not over by then") from error
    finally:
        process.kill()
        process.wait()
    if code != 0:
        tail = log.read_text(encoding="utf-8", errors="replace")[-LONGEST_MESSAGE:]
        raise RuntimeError(f"{arguments[0]} ended with {code}; the end of its log: {tail.strip()}")
    return round(time.monotonic() - started, 1)


def describe_run(layout: RunLayout, watch: Watch) -> dict[str, Any]:
    done = read_json(layout.done)
    steps = [line for line in read_json_lines(layout.metrics) if "loss" in line]
    first, last = steps[min(UNCOUNTED_STEPS, len(steps) - 1) - 1], steps[-1]
    seconds = last["seconds"] - first["seconds"]
    reserved = json.loads((layout.root / RESERVED).read_text(encoding="utf-8"))["reserved"]
    shown = watch.process_peak_bytes or watch.device_peak_bytes - watch.device_first_bytes
    return {
        "allocated_gib": round(done["peak_memory_bytes"] / GIB, 3),
        "reserved_gib": round(reserved / GIB, 3),
        "shown_gib": round(shown / GIB, 3) if shown else None,
        "shown_of": "process" if watch.process_peak_bytes else "device" if shown else None,
        "tokens_per_second": round((last["tokens"] - first["tokens"]) / seconds, 1),
        "whole_run": round(done["tokens_per_second"], 1),
        "steps": done["steps"],
        "final_loss": round(done["final_loss"], 5),
    }


def compare(predicted: dict[str, Any], measured: dict[str, Any]) -> dict[str, float | None]:
    """Predicted ÷ measured − 1, in percent, for each figure; None where nothing was measured."""
    return {
        name: round(100 * (predicted[name] / measured[name] - 1), 1) if measured[name] else None
        for name in ("allocated_gib", "shown_gib", "tokens_per_second")
    }
