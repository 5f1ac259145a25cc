"""What a run reports while it goes: a bar or lines for people, metrics.jsonl, trackers."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from luthier.files import explained_output_errors, read_json_lines, write_json_lines
from luthier.train.state import LoopState, StepReport
from luthier.train.validation import ValidationResult


class Clock:
    """Seconds of training, those before an interruption included."""

    def __init__(self, before_seconds: float) -> None:
        self._before_seconds = before_seconds
        self._started = time.perf_counter()

    def seconds(self) -> float:
        return self._before_seconds + time.perf_counter() - self._started


class Recorder:
    """Writes metrics.jsonl and shows the progress; silent in all processes but the first."""

    def __init__(
        self,
        metrics: Path,
        *,
        name: str,
        total_steps: int,
        steps_per_epoch: int,
        trackers: Any,
        active: bool,
        from_step: int,
    ) -> None:
        self._metrics = metrics
        self._name = name
        self._total_steps = total_steps
        self._steps_per_epoch = steps_per_epoch
        self._trackers = trackers
        self._active = active
        self._since = (0, 0.0)  # tokens and seconds at the last logged step
        self._console = Console(stderr=True)
        self._bar = self._build_bar()
        self._task = self._bar.add_task(
            name, total=total_steps, completed=from_step, loss="–", speed="–"
        )
        if active:
            truncate_metrics(metrics, from_step)

    def __enter__(self) -> Recorder:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start_clock(self, state: LoopState) -> Clock:
        self._since = (state.tokens, state.seconds)
        return Clock(state.seconds)

    def log_step(self, state: LoopState, report: StepReport) -> None:
        """One line for the steps since the last one; the loss is their mean."""
        tokens, seconds = self._since
        rate = (state.tokens - tokens) / max(state.seconds - seconds, 1e-9)
        self._since = (state.tokens, state.seconds)
        loss = state.window_loss / state.window_steps
        figures = {key: value / state.window_steps for key, value in state.window_figures.items()}
        self._write(
            {
                "step": state.step,
                "epoch": state.step / self._steps_per_epoch,
                "loss": loss,
                **figures,
                "learning_rate": report.learning_rate,
                "grad_norm": report.gradient_norm,
                "tokens": state.tokens,
                "tokens_per_second": rate,
                "seconds": state.seconds,
            }
        )
        self._bar.update(self._task, completed=state.step, loss=f"{loss:.4f}", speed=f"{rate:,.0f}")
        if self._active and not self._console.is_terminal:
            self._console.print(
                f"{self._name}  step {state.step}/{self._total_steps}  loss {loss:.4f}  "
                f"{rate:,.0f} tokens/s",
                highlight=False,
            )

    def log_validation(self, state: LoopState, result: ValidationResult) -> None:
        epoch = state.step / self._steps_per_epoch
        figures = {f"val_{key}": value for key, value in result.figures.items()}
        self._write({"step": state.step, "epoch": epoch, "val_loss": result.loss, **figures})

    def _write(self, values: dict[str, float]) -> None:
        if not self._active:
            return
        line = (json.dumps(values, allow_nan=False) + "\n").encode()
        with explained_output_errors(self._metrics), self._metrics.open("ab", buffering=0) as file:
            whole = file.tell()
            if file.write(line) < len(line):
                file.truncate(whole)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        numbers = {key: value for key, value in values.items() if key != "step"}
        self._trackers.log(numbers, step=int(values["step"]))

    def _build_bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed}/{task.total}  loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]} tok/s"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (self._active and self._console.is_terminal),
        )


def truncate_metrics(metrics: Path, from_step: int) -> None:
    """Drop the lines after `from_step`, which a resumed run writes again."""
    if not metrics.exists():
        return
    kept: list[dict[str, Any]] = []
    for line in metrics.read_text(encoding="utf-8").splitlines():
        # A killed process may leave its last line unfinished.
        if not line.endswith("}"):
            continue
        row = json.loads(line)
        if row["step"] <= from_step:
            kept.append(row)
    write_json_lines(metrics, kept)


def read_metrics(metrics: Path) -> list[dict[str, Any]]:
    return list(read_json_lines(metrics))
