"""Part 1: does everything work on this device, and does it come to what its references come to?

`luthier doctor` first, then the tests marked `gpu` (tests/gpu), each file in a process of its own
that is killed when it takes too long. Each test stands beside an independent reference: PEFT, TRL,
bitsandbytes' own layers, transformers' `generate`, float64 on the processor, the same run without
a kill.

A file's cell: how many tests passed, failed and were skipped, and why; the first failure; and the
operations that PyTorch says have no fixed order on this device, with how often it said so.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.record import Record
from benchmarks.gpu.workers import ROOT, build_environment

from luthier import device, doctor

TESTS = ROOT / "tests" / "gpu"
INSTALL = "pip install 'luthier[dev]'"
LONGEST_MESSAGE = 1_500
USUAL_SHARE = 1 / 3  # of the longest that a file may take, it takes no more than this as a rule


class Suite(NamedTuple):
    """A file of tests/gpu, how long it may take and what it needs beside pytest.

    Attributes:
        small: whether it is among the few of a small run.
    """

    name: str
    seconds: float
    needs: tuple[str, ...] = ()
    small: bool = False


# What tells most comes first, what takes longest near the end.
FILES = (
    Suite("test_gpu_device.py", 60, small=True),
    Suite("test_gpu_adapters.py", 75, ("peft",)),
    Suite("test_gpu_packed.py", 90),
    Suite("test_gpu_heads.py", 60, small=True),
    Suite("test_gpu_flash.py", 60),
    Suite("test_gpu_quantised.py", 90, ("peft",)),
    Suite("test_gpu_optimizers.py", 60, ("galore_torch",)),
    Suite("test_gpu_preferences.py", 75, ("trl",)),
    Suite("test_gpu_evaluation.py", 75),
    Suite("test_gpu_runs.py", 240),
    Suite("test_gpu_placement.py", 90),
)


def run(record: Record) -> None:
    """Doctor, then one file of tests after the other."""
    if not record.has("doctor"):
        with record.cell("doctor", 0.0) as found:
            found |= ask_doctor()
            if record.size == "full" and device.describe_device().kind == "cpu":
                found["failed"] = "no GPU here"
    if not is_here("pytest"):
        record.add("tests", {"failed": f"pytest is not installed: {INSTALL}"})
        return
    chosen = [file for file in FILES if file.small or record.size == "full"]
    # A file that failed before has its turn after the others.
    for file in sorted(chosen, key=lambda file: file.name in record.failed_before):
        if record.has(file.name):
            continue
        missing = [package for package in file.needs if not is_here(package)]
        if missing:
            record.add(file.name, {"not_run": f"needs {', '.join(missing)}: {INSTALL}"})
            continue
        with record.cell(file.name, USUAL_SHARE * file.seconds) as found:
            found |= run_file(TESTS / file.name, min(file.seconds, record.seconds_left()))


def ask_doctor() -> dict[str, Any]:
    """What `luthier doctor` finds, and what it advises."""
    findings = doctor.examine()
    return {
        "found": {finding.topic: finding.state for finding in findings},
        "advice": {finding.topic: finding.mend for finding in findings if finding.mend},
    }


def is_here(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def run_file(file: Path, seconds: float) -> dict[str, Any]:
    """One file's cell; it says `failed` where a test failed, or the process did."""
    with tempfile.TemporaryDirectory(prefix="luthier-smoke-") as folder:
        results, log = Path(folder) / "results.xml", Path(folder) / "log.txt"
        command = [sys.executable, "-m", "pytest", str(file), "-m", "gpu", "-v", "--tb=short"]
        command += [f"--junitxml={results}", "-p", "no:cacheprovider", "-o", "addopts="]
        # Where a test hangs, the log's end shows in which line.
        command += ["-o", f"faulthandler_timeout={max(5, int(0.8 * seconds))}"]
        code = run_process(command, log, seconds)
        text = log.read_text(encoding="utf-8", errors="replace")
        if not results.exists():
            why = f"killed after {seconds:.0f} s" if code is None else f"ended with {code}"
            return {"failed": f"{why}; the end of its log: {text[-LONGEST_MESSAGE:].strip()}"}
        cell = read_results(results)
    cell["unordered"] = read_unordered(text)
    if code is None:
        cell["failed"] = f"did not end within {seconds:.0f} s"
    elif code != 0 and "failed" not in cell:
        cell["failed"] = f"pytest ended with {code}: {text[-LONGEST_MESSAGE:].strip()}"
    return cell


def run_process(command: list[str], log: Path, seconds: float) -> int | None:
    """Its exit code; None where it took longer, and was killed with all that it had started."""
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=ROOT,
            # Unbuffered, so that the log of a killed process names the test that it was in.
            env=build_environment(PYTHONUNBUFFERED="1"),
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # Also on Ctrl-C, and what a test has left running.
            kill_group(process.pid)
            process.wait()


def kill_group(group: int) -> None:
    """Kill every process of a group that this one has started."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def read_results(file: Path) -> dict[str, Any]:
    """pytest's own report as a cell."""
    counts: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    failures: list[str] = []
    seconds = 0.0
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        seconds += float(case.get("time", 0.0))
        problem = next((part for part in case if part.tag in ("failure", "error")), None)
        skipped = case.find("skipped")
        if problem is not None:
            counts["failed"] += 1
            failures.append(f"{case.get('name')}: {problem.text or problem.get('message') or ''}")
        elif skipped is not None:
            counts["skipped"] += 1
            skips[skipped.get("message") or "no reason"] += 1
        else:
            counts["passed"] += 1
    cell: dict[str, Any] = {
        "tests": {name: counts[name] for name in ("passed", "failed", "skipped")},
        "test_seconds": round(seconds, 1),
        "skipped_because": dict(skips),
    }
    if failures:
        names = [failure.partition(":")[0] for failure in failures]
        cell["failed_tests"] = names[:20]
        cell["failed"] = f"{len(failures)} failed. {failures[0]}"[:LONGEST_MESSAGE]
    elif not counts:
        cell["failed"] = "no test was found"
    return cell


# The line that tests/gpu/conftest.py ends with.
UNORDERED = "operations in no fixed order: "


def read_unordered(log: str) -> dict[str, int]:
    """Operation → how often PyTorch warned that the device computes it in no fixed order."""
    lines = [line for line in log.splitlines() if line.startswith(UNORDERED)]
    return json.loads(lines[-1].removeprefix(UNORDERED)) if lines else {}
