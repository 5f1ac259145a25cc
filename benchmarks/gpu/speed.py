"""Part 2: how fast Luthier trains beside TRL, by method, model and length.

Each cell is a race of several contestants on the same rows (race.py); the cells come in order of
importance (cases.py), so that a first start answers what is asked first.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from benchmarks.gpu.cases import SMALL_STOPS, STOPS, Case, list_contestants
from benchmarks.gpu.counting import COUNTING
from benchmarks.gpu.race import Race
from benchmarks.gpu.record import Record, TimeIsUp
from benchmarks.gpu.results import CaseFailed, check
from benchmarks.gpu.watch import describe_limits

# What a case takes at most, processes started and model written.
SECONDS_AT_MOST = {"8b": 100.0, "7b": 100.0, "1.5b": 55.0, "0.5b": 50.0, "tiny": 20.0}
# A digest of all weights comes before DPO; all weights trained leave room for one process.
LARGE_SECONDS, LARGE = 170.0, {("8b", "dpo"), ("8b", "full")}
COMPILING_SECONDS = 120.0


def run(record: Record) -> None:
    for name, text in COUNTING.items():
        record.note(name, text)
    if limits := describe_limits():
        record.note("device", limits)
    if importlib.util.find_spec("trl") is None:
        record.note("peers", "TRL is not installed here: Luthier is measured alone")
    stops = STOPS if record.size == "full" else SMALL_STOPS
    with tempfile.TemporaryDirectory(prefix="luthier-gpu-speed-") as name:
        for again in (False, True):
            for number, stop in enumerate(stops):
                cases = [case for case in stop.cases if not record.has(case.name)]
                cases = [case for case in cases if (case.name in record.failed_before) is again]
                if cases:
                    race_cases(record, cases, Path(name) / f"stop-{number}-{again}")


def race_cases(record: Record, cases: list[Case], folder: Path) -> None:
    """Measure cases that the same processes go through."""
    with Race(cases, folder, record.seconds_left) as race:
        for case in cases:
            with record.cell(case.name, choose_seconds(case)) as cell:
                began_late = record.has_begun_late()
                try:
                    cell |= race.run(case, list_contestants(case))
                except TimeIsUp as error:
                    if began_late:
                        raise
                    raise CaseFailed("it takes longer than a whole start") from error
                check(cell)


def choose_seconds(case: Case) -> float:
    large = (case.shape, case.method) in LARGE
    usual = LARGE_SECONDS if large else SECONDS_AT_MOST[case.shape]
    return usual + (COMPILING_SECONDS if "compile" in case.variant else 0.0)
