"""Turns of several contestants on one device: A B … B A, one at work at a time.

Where the processes do not fit the device at once, they take their turns one after the other, and
the result says `alone`. A contestant that runs out of memory beside the others is tried alone
before that is called its result.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.cases import TURN_STEPS, Case, Contestant
from benchmarks.gpu.fit import fit_beside, plan_fit
from benchmarks.gpu.record import TimeIsUp
from benchmarks.gpu.results import UNCOUNTED, UNCOUNTED_FIRST, Entry, describe
from benchmarks.gpu.shapes import provide_model
from benchmarks.gpu.watch import Watch
from benchmarks.gpu.workers import OutOfMemory, Worker, WorkerLost

MODULES = {"luthier": "benchmarks.gpu.peer_luthier", "trl": "benchmarks.gpu.peer_trl"}
# What a child may take beyond the part's time before it is given up.
GRACE_SECONDS = 20.0
ANSWER_WITHIN_SECONDS = 240.0


class Race:
    """The processes of one stop; use it in a `with` block, which ends them.

    Args:
        cases: all that the processes shall go through.
        seconds_left: of the part.
    """

    def __init__(self, cases: list[Case], folder: Path, seconds_left: Callable[[], float]) -> None:
        self._cases = cases
        self._model = Path()
        self._folder = folder
        self._seconds_left = seconds_left
        self._workers: dict[tuple[Any, ...], Worker] = {}
        self._ready: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._lengths_taken: dict[tuple[Any, ...], list[int]] = {}
        self._started = 0

    def __enter__(self) -> Race:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_all()

    def run(self, case: Case, contestants: tuple[Contestant, ...]) -> dict[str, Any]:
        """What the cell holds.

        Raises:
            TimeIsUp: the part's time ended before the turns did.
        """
        self._model = provide_model(case.shape)
        fits = {item: plan_fit(case, item, self._model) for item in contestants}
        entries = [Entry(item, fits[item]) for item in contestants]
        tried = [entry for entry in entries if entry.fit.is_possible]
        beside = fit_beside({entry.contestant: entry.fit for entry in tried})
        self._alternate(case, [entry for entry in tried if entry.contestant in beside])
        self._one_by_one(case, [entry for entry in tried if entry.contestant not in beside])
        self._try_again_alone(case, tried)
        return describe(case, entries, self._model)

    def close_all(self) -> None:
        for process in list(self._workers):
            self._close(process)

    def _alternate(self, case: Case, entries: list[Entry]) -> None:
        self._start(entries)
        for order in (entries, entries[::-1]):
            for entry in order:
                self._take_turn(case, entry)

    def _one_by_one(self, case: Case, entries: list[Entry]) -> None:
        for process in dict.fromkeys(entry.contestant.process for entry in entries):
            own = [entry for entry in entries if entry.contestant.process == process]
            for other in [other for other in self._workers if other != process]:
                self._close(other)
            for entry in own:
                entry.alone = True
            self._alternate(case, own)

    def _try_again_alone(self, case: Case, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.out_of_memory and not entry.alone:
                self.close_all()
                entry.turns, entry.out_of_memory = [], ""
                self._one_by_one(case, [entry])

    def _start(self, entries: list[Entry]) -> None:
        """Start what is not running; all of them load their models at the same time."""
        new: list[tuple[Any, ...]] = []
        for entry in entries:
            process = entry.contestant.process
            if process not in self._workers:
                self._workers[process] = self._open(entry.contestant)
                self._lengths_taken[process] = []
                new.append(process)
                self._workers[process].send("build")
        for process in new:
            own = [entry for entry in entries if entry.contestant.process == process]
            self._attempt(own, lambda process=process: self._receive_ready(process))
        for entry in entries:
            entry.settings = self._ready.get(entry.contestant.process, {}).get("settings", {})

    def _receive_ready(self, process: tuple[Any, ...]) -> None:
        self._ready[process] = self._workers[process].receive(self._limit())

    def _open(self, contestant: Contestant) -> Worker:
        self._started += 1
        # The peers start from the adapter that Luthier writes, as it is by default.
        shares = contestant.peer == "trl" or not contestant.options
        job = {
            "model": str(self._model),
            "cases": [list(case) for case in self._cases],
            "steps": UNCOUNTED_FIRST + TURN_STEPS[self._cases[0].shape],
            "options": dict(contestant.options),
            "adapter": str(self._folder / "start") if shares else "",
            "output": str(self._folder / f"output-{self._started}"),
        }
        return Worker(MODULES[contestant.peer], job, self._folder / f"worker-{self._started}")

    def _take_turn(self, case: Case, entry: Entry) -> None:
        if entry.out_of_memory or entry.failed:
            return
        self._start([entry])
        if entry.out_of_memory or entry.failed:
            return
        process = entry.contestant.process
        before = list(self._lengths_taken[process])

        def turn() -> None:
            with Watch() as watch:
                answer = self._workers[process].ask(
                    "turn",
                    self._limit(),
                    length=case.length,
                    steps=TURN_STEPS[case.shape],
                    uncounted=UNCOUNTED if entry.turns else UNCOUNTED_FIRST,
                    checkpointing=entry.contestant.checkpointing,
                )
            entry.turns.append({**answer, "before": before, "first": not entry.turns})
            entry.clocks += watch.sm_clocks_mhz
            self._lengths_taken[process].append(case.length)

        self._attempt([entry], turn)

    def _attempt(self, entries: list[Entry], do: Callable[[], None]) -> None:
        """Do it; what goes wrong is these entries' result, and their process is gone."""
        try:
            do()
        except WorkerLost as error:
            self._close(entries[0].contestant.process)
            if self._seconds_left() < -GRACE_SECONDS / 2:
                raise TimeIsUp("a case was not over by then") from error
            for entry in entries:
                if isinstance(error, OutOfMemory):
                    entry.out_of_memory = str(error)
                else:
                    entry.failed = str(error)

    def _limit(self) -> float:
        return min(ANSWER_WITHIN_SECONDS, max(1.0, self._seconds_left() + GRACE_SECONDS))

    def _close(self, process: tuple[Any, ...]) -> None:
        self._ready.pop(process, None)
        worker = self._workers.pop(process, None)
        if worker is not None:
            worker.close()
