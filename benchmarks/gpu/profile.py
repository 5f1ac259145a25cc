"""Part 4: where the time of one step of Luthier goes.

A case's process is the one that races in part 2; it takes a few steps under PyTorch's profiler.
With --trace the whole trace of each case is kept beside the JSON.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu.cases import Case
from benchmarks.gpu.record import Record
from benchmarks.gpu.shapes import provide_model
from benchmarks.gpu.workers import Worker

STEPS = 3
GRACE_SECONDS = 20.0
SECONDS_AT_MOST = {"8b": 100.0, "1.5b": 50.0, "0.5b": 45.0, "tiny": 20.0}
CASES = (
    Case("8b", "lora", 4_096),
    Case("8b", "qlora", 4_096),
    Case("0.5b", "full", 2_048),
    Case("1.5b", "dpo", 2_048),
)
SMALL_CASES = (Case("tiny", "lora", 64), Case("tiny", "full", 64))
NOTES = {
    "shares": (
        "kinds and kernels: of the time that kernels took together. `idle_share`: of a step "
        "without the profiler, in which no kernel ran; its host work is hidden elsewhere"
    ),
    "step_seconds": (
        f"a mean of {STEPS} steps without the profiler; `profiled_step_seconds` of as many under "
        "it, whose host is slower; `device_seconds`: in which at least one kernel ran; "
        "`host_seconds`: of a profiled step, in which the host did not wait for the device"
    ),
    "processor": "on a processor operators take the place of kernels, by their own time",
}


def run(record: Record) -> None:
    for name, text in NOTES.items():
        record.note(name, text)
    with tempfile.TemporaryDirectory(prefix="luthier-gpu-profile-") as name:
        cases = CASES if record.size == "full" else SMALL_CASES
        ordered = sorted(cases, key=lambda case: case.name in record.failed_before)
        for number, case in enumerate(ordered):
            if record.has(case.name):
                continue
            with record.cell(case.name, SECONDS_AT_MOST[case.shape]) as cell:
                cell |= measure(case, Path(name) / str(number), record)


def measure(case: Case, folder: Path, record: Record) -> dict[str, Any]:
    job = {
        "model": str(provide_model(case.shape)),
        "cases": [list(case)],
        "steps": STEPS,
        "options": {},
        "adapter": "",
        "output": str(folder / "output"),
    }
    trace = ""
    if record.keeps_traces:
        trace = str(record.path.resolve().parent / f"{case.name.replace(' ', '-')}.trace.json.gz")
    worker = Worker("benchmarks.gpu.peer_luthier", job, folder)
    try:
        said = worker.ask("build", limit(record))["settings"]
        worker.send("profile", length=case.length, steps=STEPS, checkpointing=False, trace=trace)
        found = worker.receive(limit(record))
    finally:
        worker.close()
    return {"rows_per_step": case.rows, "tokens_per_step": case.step_tokens, **found, "said": said}


def limit(record: Record) -> float:
    """Seconds to wait for an answer."""
    return max(1.0, record.seconds_left() + GRACE_SECONDS)
