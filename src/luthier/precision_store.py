"""What was measured of bfloat16 on this machine's processor, kept for later runs and plans.

No torch here: plans read it too. A line of the file is one measurement (luthier.precision makes
it); it holds for the same processor, cores, threads and version of torch.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

from luthier.errors import DataError
from luthier.files import find_user_file, read_json_lines
from luthier.processor import CPUINFO, read_processor

STORE_VARIABLE = "LUTHIER_PRECISIONS"
VERSION = 1
# Below this a gain is not worth eight bits of every number, and may be the clock's mood.
CLEAR_GAIN = 1.15
CLEAR_SHARE = 0.8


class MeasuredGain(NamedTuple):
    """How a training step in bfloat16 compares with one in float32.

    Attributes:
        gain: seconds in float32 ÷ seconds in bfloat16, the median of pairs taken in turn.
        share: of the pairs in which bfloat16 was faster.
    """

    gain: float
    share: float

    @property
    def wins(self) -> bool:
        """Whether bfloat16 is clearly faster; without a clear winner float32 is."""
        return self.gain >= CLEAR_GAIN and self.share >= CLEAR_SHARE

    @property
    def precision(self) -> Literal["float32", "bfloat16"]:
        """What `bf16: auto` means on this processor."""
        return "bfloat16" if self.wins else "float32"

    @property
    def why(self) -> str:
        # Cut, not rounded: 1.149 is not the 1.15 that it takes.
        gain = f"{int(self.gain * 100) / 100:.2f} × float32's speed on this processor"
        if self.wins:
            return f"bf16: auto, measured {gain}"
        return f"bf16: auto, no clear winner: bfloat16 has {gain}"


def find_store() -> Path:
    """The file of measurements: LUTHIER_PRECISIONS, else in the user's data folder."""
    return find_user_file("precisions.jsonl", STORE_VARIABLE)


def find_gain() -> MeasuredGain | None:
    """The newest measurement of this machine as it is now; None where there is none."""
    store, here, found = find_store(), describe_here(), None
    if not store.is_file():
        return None
    try:
        for line in read_json_lines(store):
            if line.get("version") == VERSION and line["machine"] == here:
                found = MeasuredGain(float(line["gain"]), float(line["share"]))
    except (DataError, KeyError, TypeError, ValueError):
        # It costs a second to measure again; a damaged file must not stop a run.
        return None
    return found


def remember_gain(measured: MeasuredGain) -> bool:
    """Add a line to the store; False where it cannot be written, and the next run measures anew."""
    line = {
        "version": VERSION,
        "machine": describe_here(),
        **measured._asdict(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    store = find_store()
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with store.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError:
        return False
    return True


def describe_here() -> dict[str, Any]:
    """What must be the same for a measurement to hold."""
    processor = read_processor(CPUINFO)
    return {
        "processor": processor.name,
        "cores": processor.cores,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "torch": importlib.metadata.version("torch"),
    }
