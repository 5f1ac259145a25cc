"""What a part has measured: one JSON object, on disk after every addition.

    {"part", "status", "why", "size", "date", "seconds", "hardware", "versions", "git_revision",
     "notes": {name: text}, "cells": {name: {...}}}

`status` is `running` while a part runs (what a killed one leaves), then `done`, `unfinished` (time
ran out: start the part again and it goes on) or `failed`, with the reason in `why`. A cell holds
what one case came to, and where it failed `"failed": why`. A part that is started again keeps the
cells that were measured on the same hardware with the same versions and the same code, and
measures the rest, those that failed last. `notes` say how a part counts.
"""

from __future__ import annotations

import datetime
import json
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from luthier import provenance
from luthier.files import read_json, write_json

Size = Literal["full", "small"]
VERSIONS = (
    *provenance.PACKAGES,
    "bitsandbytes",
    "flash_attn",
    "liger-kernel",
    "peft",
    "triton",
    "trl",
)
# What must be the same for a cell of an earlier start to be kept.
SAME = ("part", "size", "hardware", "versions", "git_revision")


class TimeIsUp(Exception):
    """A part's time has run out; what is measured is kept."""


class Record:
    """The JSON object of one part, and the time that is left to it.

    Attributes:
        failed_before: cells that failed in an earlier start; their turn comes after the others, so
            that one which always fails does not stand in their way.
    """

    def __init__(
        self,
        part: str,
        output: Path,
        *,
        size: Size,
        budget_seconds: float,
        keeps_traces: bool = False,
    ) -> None:
        self.path = output / f"{part}.json"
        self.size = size
        self.keeps_traces = keeps_traces
        self._started = time.monotonic()
        self._budget_seconds = budget_seconds
        environment = provenance.describe_environment()
        self._values: dict[str, Any] = {
            "part": part,
            "status": "running",
            "why": "",
            "size": size,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": 0.0,
            "hardware": environment["hardware"],
            "versions": environment["versions"] | provenance.list_versions(VERSIONS),
            "git_revision": environment["git_revision"],
            "notes": {},
            "cells": {},
        }
        self._values["cells"] = self._read_cells_that_hold()
        self.failed_before = frozenset(name for name in self.cells if not self.has(name))
        self._write()

    @property
    def cells(self) -> dict[str, Any]:
        return self._values["cells"]

    def seconds_left(self) -> float:
        return self._budget_seconds - (time.monotonic() - self._started)

    def note(self, name: str, text: str) -> None:
        """Say how the part counts, or what it goes without."""
        self._values["notes"][name] = text
        self._write()

    def add(self, name: str, cell: dict[str, Any]) -> None:
        """Write one cell to disk and say so in one line."""
        self.cells[name] = cell
        self._write()
        print(f"  {name}: {json.dumps(cell)}"[:400], flush=True)

    @contextmanager
    def cell(self, name: str, seconds: float) -> Generator[dict[str, Any]]:
        """A mapping to fill; it becomes the cell when the block ends, also by an error.

        Args:
            seconds: what the case takes at most; it is not begun where less is left.

        Raises:
            TimeIsUp: there is not that much time left.
        """
        if self.seconds_left() < seconds:
            raise TimeIsUp(f"{name} and what comes after it are not measured yet")
        found: dict[str, Any] = {}
        started = time.monotonic()
        try:
            yield found
        except (TimeIsUp, KeyboardInterrupt):
            raise
        except Exception as error:
            # One case that fails must not take the others with it.
            found["failed"] = f"{type(error).__name__}: {error}"[:2000]
            traceback.print_exc()
        found["took_seconds"] = round(time.monotonic() - started, 1)
        self.add(name, found)

    def has_begun_late(self, share: float = 0.9) -> bool:
        """Whether less than this share of the time is left."""
        return self.seconds_left() < share * self._budget_seconds

    def has(self, name: str) -> bool:
        """Whether the cell is measured, in this start or an earlier one, and did not fail."""
        return name in self.cells and "failed" not in self.cells[name]

    def finish(self, why: str = "", *, failed: bool = False) -> int:
        """Write how the part ended, print the object as the last line; returns the exit code."""
        faults = [name for name, cell in self.cells.items() if "failed" in cell]
        if faults and not why:
            why, failed = f"failed: {', '.join(faults)}", True
        status = "failed" if failed else "unfinished" if why else "done"
        self._values |= {"status": status, "why": why}
        self._write()
        print(json.dumps(self._values), flush=True)
        return 1 if failed else 0

    def _read_cells_that_hold(self) -> dict[str, Any]:
        """The cells of an earlier start that still hold; none where anything has changed since."""
        if not self.path.exists():
            return {}
        before = read_json(self.path)
        if any(before.get(key) != self._values[key] for key in SAME):
            return {}
        return before["cells"]

    def _write(self) -> None:
        self._values["seconds"] = round(time.monotonic() - self._started, 1)
        write_json(self.path, self._values)
