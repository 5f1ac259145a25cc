"""A child process that does what it is told, one JSON object a line, and the parent's end of it.

The parent writes `{"command": name, ...}`; the child answers with one object on a line of its own,
since whatever a library prints goes to the child's log. A child that meets an error says what it
was and ends: a new one starts with a clean device.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUT_OF_MEMORY = ("out of memory", "alloc_failed")
FAILURES = {"out_of_memory", "error"}
LONGEST_MESSAGE = 1_500
# What Luthier sets for itself when it is imported or trains; no child shall inherit it.
ORDER_VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "FLASH_ATTENTION_DETERMINISTIC")


class WorkerLost(Exception):
    """A child has failed, ended or does not answer."""


class OutOfMemory(WorkerLost):
    """A child's device has no room for what it was told."""


def serve(commands: Mapping[str, Callable[..., Mapping[str, Any]]]) -> None:
    """The child's end: answer until nothing more is asked, or until the first error."""
    with os.fdopen(int(sys.argv[2]), "w", encoding="utf-8") as answers:
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                answer = commands[asked.pop("command")](**asked)
            except Exception as error:
                traceback.print_exc()
                answer = describe_failure(error)
            print(json.dumps(answer), file=answers, flush=True)
            if FAILURES & answer.keys():
                return


def read_job() -> dict[str, Any]:
    """What the child was started with."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def describe_failure(error: Exception) -> dict[str, str]:
    """Under `out_of_memory` where that is what it was, else under `error`."""
    text = f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]
    full = any(sign in text.lower() for sign in OUT_OF_MEMORY)
    return {"out_of_memory" if full else "error": text}


class Worker:
    """The parent's end: `python -m MODULE JOB` in a process of its own, on one device."""

    def __init__(self, module: str, job: Mapping[str, Any], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        self._log = folder / "log.txt"
        self._received = b""
        self._answers, answers = os.pipe()
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(file), str(answers)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                bufsize=0,
                pass_fds=(answers,),
                cwd=ROOT,
                env=build_environment(),
            )
        os.close(answers)

    def send(self, command: str, **values: Any) -> None:
        """Ask without waiting for the answer."""
        assert self._process.stdin is not None
        line = json.dumps({"command": command, **values}) + "\n"
        # A child that has ended is met when its answer is waited for.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())

    def receive(self, seconds: float) -> dict[str, Any]:
        """The answer.

        Raises:
            OutOfMemory: the child ran out of memory, and has ended.
            WorkerLost: it failed otherwise, or has not answered within `seconds`.
        """
        answer = json.loads(self._read_line(seconds))
        if "out_of_memory" in answer:
            self.close()
            raise OutOfMemory(answer["out_of_memory"])
        if "error" in answer:
            self.close()
            raise WorkerLost(answer["error"])
        return answer

    def ask(self, command: str, seconds: float, **values: Any) -> dict[str, Any]:
        self.send(command, **values)
        return self.receive(seconds)

    def close(self) -> None:
        """End the child; its memory on the device is free afterwards."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        os.close(self._answers)

    def _read_line(self, seconds: float) -> bytes:
        until = time.monotonic() + seconds
        while b"\n" not in self._received:
            left = max(0.0, until - time.monotonic())
            ready, _, _ = select.select([self._answers], [], [], left)
            block = os.read(self._answers, 1 << 16) if ready else b""
            if not block:
                tail = self._log.read_text(encoding="utf-8", errors="replace")[-LONGEST_MESSAGE:]
                self.close()
                said = "ended" if ready else f"has not answered within {seconds:.0f} s"
                raise WorkerLost(f"a process {said}; the end of its log: {tail.strip()}")
            self._received += block
        line, _, self._received = self._received.partition(b"\n")
        return line


def build_environment(**more: str) -> dict[str, str]:
    """A child's environment: no network, and one device, as a second one would change what runs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    inherited = {key: text for key, text in os.environ.items() if key not in ORDER_VARIABLES}
    return {
        **inherited,
        "CUDA_VISIBLE_DEVICES": visible,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "TOKENIZERS_PARALLELISM": "false",
        **more,
    }
