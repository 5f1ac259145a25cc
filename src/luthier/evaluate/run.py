"""Score one model on one task: `luthier eval`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track

from luthier.data.examples import Example
from luthier.errors import DataError, ModelError
from luthier.evaluate import TASKS
from luthier.evaluate.model import EvaluatedModel
from luthier.evaluate.task import Scored, Summary, Task
from luthier.files import explained_output_errors, make_directory, read_json_lines, write_json


class EvaluationPaths(NamedTuple):
    examples: Path  # one line per example
    summary: Path  # written last: where it stands, the evaluation is complete

    @classmethod
    def of(cls, folder: Path, name: str) -> EvaluationPaths:
        return cls(folder / f"{name}.jsonl", folder / f"{name}.json")


def evaluate_model(
    model: EvaluatedModel,
    task_name: str,
    examples: Sequence[Example],
    output: Path,
    *,
    name: str | None = None,
    label: str = "",
    max_new_tokens: int | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Score `examples`, write `<name>.jsonl` and `<name>.json` into `output`, return the latter.

    Outputs go to disk batch by batch: memory does not grow with the data.

    Raises:
        DataError: no such task, or examples that it cannot score.
    """
    task = find_task(task_name)
    task.check(examples)
    options = task.defaults._replace(
        **{
            key: value
            for key, value in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size))
            if value is not None
        }
    )
    paths = EvaluationPaths.of(make_directory(output), name or task_name)
    started = time.perf_counter()
    scored = show_progress(
        task.score(model, examples, options), f"{label} {name or task_name}".strip(), len(examples)
    )
    means = write_scored(paths.examples, scored)
    summary = task.summarise(read_json_lines(paths.examples))
    result = {
        "task": task_name,
        "n": len(examples),
        "seconds": time.perf_counter() - started,
        "precision": model.precision,
        "metrics": summarise_metrics(task, means, summary, len(examples)),
        **summary.details,
    }
    write_json(paths.summary, result)
    return result


def find_task(name: str) -> Task:
    if name not in TASKS:
        raise DataError(f"no task {name!r}. There are {', '.join(TASKS)}.")
    return TASKS[name]


class Mean:
    """A running mean."""

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count


def write_scored(path: Path, scored: Iterable[Scored]) -> dict[str, Mean]:
    """Stream one line an example to `path`, complete or absent; returns each metric's mean."""
    means: dict[str, Mean] = {}
    partial = path.with_name(f".{path.name}.partial")
    with explained_output_errors(path):
        try:
            with partial.open("w", encoding="utf-8") as file:
                for one in scored:
                    file.write(render_line(one))
                    for metric, value in one.scores.items():
                        means.setdefault(metric, Mean()).add(value)
                file.flush()
                os.fsync(file.fileno())
            # The summary of an evaluation before this one tells of lines that are gone.
            path.with_suffix(".json").unlink(missing_ok=True)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    return means


def render_line(one: Scored) -> str:
    """One line of `<task>.jsonl`; raises ModelError where a score is not a number."""
    row = {"id": one.id, "prompt": one.prompt, "output": one.output, "scores": one.scores}
    try:
        return json.dumps(row | one.details, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ModelError(
            f"example {one.id}: the model's scores are not numbers (NaN or infinite), so its "
            "weights are most likely not either. Nothing was scored."
        ) from error


def summarise_metrics(
    task: Task, means: dict[str, Mean], summary: Summary, count: int
) -> dict[str, dict[str, Any]]:
    metrics: dict[str, dict[str, Any]] = {
        metric: {"value": means[metric].value, "n": means[metric].count, "kind": kind}
        for metric, kind in task.kinds.items()
        if metric in means
    }
    for metric, value in summary.metrics.items():
        metrics[metric] = {"value": value, "n": count, "kind": "summary"}
    return metrics


def show_progress(scored: Iterator[Scored], label: str, total: int) -> Iterable[Scored]:
    console = Console(stderr=True)
    if not console.is_terminal:
        return scored
    return track(scored, description=label, total=total, console=console)
