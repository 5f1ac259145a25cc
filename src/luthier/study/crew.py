"""The worker processes of a study: one for each run that goes now."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

from luthier.files import RunLayout, make_directory, write_json
from luthier.study.ledger import Run
from luthier.study.settled import Slots

# Between two looks at the workers; a run takes a thousand times as long.
LOOK_SECONDS = 0.05


class Ended(NamedTuple):
    run: Run
    succeeded: bool


class Crew:
    """Starts runs, as many at once as there are slots, and tells which have ended.

    Used in a `with` block: whatever ends the block ends the workers too.
    """

    def __init__(self, folder: Path, slots: Slots, *, trust_remote_code: bool) -> None:
        self._folder = folder
        self._slots = slots
        self._trust = trust_remote_code
        self._working: dict[Run, subprocess.Popen[bytes]] = {}

    @property
    def working(self) -> Sequence[Run]:
        return list(self._working)

    @property
    def has_room(self) -> bool:
        return len(self._working) < self._slots.jobs

    def start(self, run: Run) -> None:
        """Begin or go on with a run in a process of its own."""
        layout = RunLayout(make_directory(run.folder))
        layout.error.unlink(missing_ok=True)
        command = [sys.executable, "-m", "luthier.study.worker", str(self._folder)]
        command += ["--arm", run.arm]
        command += [] if run.seed is None else ["--seed", str(run.seed)]
        command += ["--trust-remote-code"] if self._trust else []
        environment = dict(os.environ)
        if self._slots.threads is not None:
            environment["OMP_NUM_THREADS"] = str(self._slots.threads)
        side_by_side = self._slots.jobs > 1
        # In a group of its own Ctrl-C reaches this process alone; the worker ends with the pipe.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            # Two progress bars on one terminal would overwrite each other: lines are passed on.
            stderr=subprocess.PIPE if side_by_side else None,
            process_group=0,
            env=environment,
        )
        if process.stderr is not None:
            threading.Thread(target=_pass_on, args=(process.stderr,), daemon=True).start()
        self._working[run] = process

    def wait(self) -> list[Ended]:
        """Wait until a run ends; the runs that have, and whether they succeeded."""
        while self._working:
            over = [run for run, process in self._working.items() if process.poll() is not None]
            if over:
                return [self._conclude(run) for run in over]
            time.sleep(LOOK_SECONDS)
        return []

    def _conclude(self, run: Run) -> Ended:
        code = self._working.pop(run).wait()
        layout = RunLayout(run.folder)
        if code != 0 and not layout.error.exists():
            write_json(layout.error, describe_death(code))
        return Ended(run, code == 0)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._working.values():
            if process.stdin is not None:
                process.stdin.close()
        for process in self._working.values():
            process.wait()


def pick_next(
    pending: Sequence[Run], working: Sequence[Run], stages: Mapping[Run, Sequence[Run]]
) -> Run | None:
    """The first run whose stages are all over; None where each waits for one that is not."""
    unfinished = {*pending, *working}
    return next((run for run in pending if not unfinished & {*stages[run]}), None)


def _pass_on(lines: IO[bytes]) -> None:
    with lines:
        for line in lines:
            sys.stderr.buffer.write(line)
            sys.stderr.flush()


def describe_death(code: int) -> dict[str, str]:
    """The error of a worker that could not write its own."""
    message = f"the run's process ended with exit code {code}."
    if code == -9:
        message = (
            "the run's process was killed (signal 9), most often by the system when memory runs "
            "out. Lower micro_batch_size or sequence_len, or set gradient_checkpointing: true; "
            "--jobs 1 does one run at a time."
        )
    return {"error": "ProcessDied", "message": message, "traceback": ""}
