"""What the user's own studies nearby have scored: read from their files, without torch."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from luthier.errors import LuthierError
from luthier.plan.amounts.data_names import name_rows
from luthier.plan.choice.methods import Method, name_method
from luthier.recipe.load_study import load_study
from luthier.stats.comparison import Direction

# Task → the metric that the task is read by, and whether more or less of it is better.
_HEADLINES: Mapping[str, tuple[str, Direction]] = {
    "elle": ("overall", "higher"),
    "classification": ("accuracy", "higher"),
    "perplexity": ("nats_per_token", "lower"),
}


class OwnResult(NamedTuple):
    """One arm of a finished study, on one task.

    Attributes:
        study: its name.
        arm: the arm's name.
        base_model: what was trained.
        data: name of the rows, as in `data_names`.
        method: how it was trained.
        task: the task's name in the study.
        metric: which of its metrics.
        better: whether more or less of it is an improvement.
        values: one for each seed.
        examples: behind each value.
    """

    study: str
    arm: str
    base_model: str
    data: str
    method: Method
    task: str
    metric: str
    better: Direction
    values: tuple[float, ...]
    examples: int

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)


def read_own_results(runs: Path) -> tuple[OwnResult, ...]:
    """All scored arms of the studies in `runs` (`runs/<study>/results.csv`), in name order.

    A study whose files cannot be read is left out: a plan does not depend on it.
    """
    if not runs.is_dir():
        return ()
    folders = sorted(path.parent for path in runs.glob("*/results.csv"))
    return tuple(result for folder in folders for result in _read_study(folder))


def _read_study(folder: Path) -> Iterator[OwnResult]:
    try:
        loaded = load_study(folder / "study.yaml")
        rows = list(csv.DictReader((folder / "results.csv").open(encoding="utf-8", newline="")))
    except (LuthierError, OSError, csv.Error, UnicodeDecodeError):
        return
    kinds = {task.name: task.task for task in loaded.study.tasks}
    data = name_rows(loaded.study.data)
    for arm in loaded.arms:
        if arm.after is not None:
            continue  # What a second stage scores is not the score of its method alone.
        for task, kind in kinds.items():
            metric, better = _HEADLINES[kind]
            found = [row for row in rows if _is_of(row, arm.name, task, metric)]
            if not found:
                continue
            yield OwnResult(
                loaded.study.study,
                arm.name,
                arm.recipe.base_model,
                data or name_rows(arm.recipe.datasets[0]),
                name_method(arm.recipe),
                task,
                metric,
                better,
                tuple(float(row["value"]) for row in found),
                min(int(row["n"] or 0) for row in found),
            )


def _is_of(row: Mapping[str, Any], arm: str, task: str, metric: str) -> bool:
    return (row.get("arm"), row.get("task"), row.get("metric")) == (arm, task, metric)
