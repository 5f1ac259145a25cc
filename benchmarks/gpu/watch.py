"""What nvidia-smi shows while something runs: memory of the device and of a process, the clock."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from types import TracebackType

EVERY_SECONDS = 0.25
ANSWER_WITHIN_SECONDS = 5.0
MIB = 2**20


class Watch:
    """Asks nvidia-smi again and again within a `with` block; knows nothing without one.

    Attributes:
        sm_clocks_mhz: of the multiprocessors, at each look within the block.
        device_first_bytes: what the device showed in use when the block began.
        device_peak_bytes: the most that it showed, by whomever it was used.
        pid: a process to look for.
        process_peak_bytes: the most that it showed; 0 where a container hides the host's ids.
    """

    def __init__(self, every_seconds: float = EVERY_SECONDS) -> None:
        self.sm_clocks_mhz: list[float] = []
        self.device_first_bytes = 0
        self.device_peak_bytes = 0
        self.pid: int | None = None
        self.process_peak_bytes = 0
        self._program = shutil.which("nvidia-smi")
        self._every_seconds = every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Watch:
        if self._program is not None:
            self.device_first_bytes = max((used for used, _ in self._look_at_device()), default=0)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(self._every_seconds):
            for used, clock in self._look_at_device():
                self.device_peak_bytes = max(self.device_peak_bytes, used)
                self.sm_clocks_mhz.append(clock)
            if self.pid is None:
                continue
            for pid, used in self._ask("--query-compute-apps=pid,used_gpu_memory"):
                if int(pid) == self.pid:
                    self.process_peak_bytes = max(self.process_peak_bytes, int(used * MIB))

    def _look_at_device(self) -> list[tuple[int, float]]:
        """Bytes in use and the clock."""
        found = self._ask("--query-gpu=memory.used,clocks.sm")
        return [(int(used * MIB), clock) for used, clock in found]

    def _ask(self, query: str) -> list[tuple[float, float]]:
        return read_pairs(ask(str(self._program), query))


def describe_limits() -> str:
    """The device's driver and what holds it back; nothing without nvidia-smi."""
    program = shutil.which("nvidia-smi")
    names = ("driver_version", "power.limit", "clocks.max.sm")
    said = ask(program, f"--query-gpu={','.join(names)}") if program else ""
    parts = [part.strip() for part in said.split(",")]
    if len(parts) != len(names):
        return ""
    return f"driver {parts[0]}, power limit {parts[1]} W, highest clock {parts[2]} MHz"


def ask(program: str, query: str) -> str:
    """What nvidia-smi prints for one query of the first visible device; nothing when it fails."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    command = [program, f"--id={visible}", query, "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_WITHIN_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout


def read_pairs(text: str) -> list[tuple[float, float]]:
    """The lines of two numbers; a driver that does not know one writes [N/A]."""
    found: list[tuple[float, float]] = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 2 and all(part.replace(".", "", 1).isdigit() for part in parts):
            found.append((float(parts[0]), float(parts[1])))
    return found
