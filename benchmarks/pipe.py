"""A worker process that takes one step when told, and the parent's end of the line to it.

The parent writes one word a line, the worker answers with one JSON object a line. Whatever else a
library prints goes to the worker's log.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

Command = Literal["build", "step", "stop"]


class Commands:
    """The worker's end; make it before a library can print."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def wait(self) -> Command:
        """The next command; `stop` also when the parent is gone."""
        word = sys.stdin.readline().strip()
        return word if word in ("build", "step") else "stop"

    def report(self, **values: Any) -> None:
        print(json.dumps(values), file=self._answers, flush=True)


class Worker:
    """The parent's end: starts `script job.json` in a process of its own."""

    def __init__(self, script: Path, job: dict[str, Any], folder: Path) -> None:
        folder.mkdir(parents=True)
        job_file = folder / "job.json"
        job_file.write_text(json.dumps(job), encoding="utf-8")
        self._log = folder / "log.txt"
        # One device, as a second one would go to the peer's own kind of parallelism.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")
        one_device = {"CUDA_VISIBLE_DEVICES": visible[0]}
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(script), str(job_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **one_device, "HF_HUB_OFFLINE": "1"},
            )

    def ask(self, command: Command) -> dict[str, Any]:
        """Send a command and wait for the answer; raises RuntimeError with the log's end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(command, file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            tail = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"a worker died; the end of its log:\n{tail}")
        return json.loads(answer)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
