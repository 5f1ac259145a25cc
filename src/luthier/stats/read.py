"""Evaluation files → one score per seed and example.

Legend: S seeds, N examples.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ComparisonError, DataError
from luthier.files import read_json, read_json_lines
from luthier.stats.sources import resolve_argument

Kind = Literal["yes/no", "score"]


@dataclass(frozen=True)
class ArmScores:
    """The scores of one arm on one metric.

    Attributes:
        name: the arm's name, as it appears in tables.
        seeds: S labels, one per row of `scores_SN`.
        ids: N example ids, sorted, so that the order of rows in a file changes nothing.
        scores_SN: float64, seeds × examples.
        kind: "yes/no" where every score is 0 or 1, else "score".
        metric: the metric's name.
        source: the argument that named the arm.
        notes: what the reader should know, such as a seed without evaluation.
    """

    name: str
    seeds: tuple[str, ...]
    ids: tuple[str, ...]
    scores_SN: NDArray[np.float64]
    kind: Kind
    metric: str = "score"
    source: str = ""
    notes: tuple[str, ...] = ()


def read_scores(argument: str, metric: str, task: str | None = None) -> ArmScores:
    """Read one arm.

    Args:
        argument: a JSON lines file, `name=file1,file2` (one file per seed), an arm's folder
            (`seed-*/eval/`) or a run's folder (`eval/`).
        metric: looked up in each row's `scores`, else as a key of the row itself; `true` and
            `false` count as 1 and 0.
        task: which evaluation file to take from a folder that holds several.

    Raises:
        ComparisonError: no such file or metric, several tasks, seeds with different examples.
        DataError: a row without id or score, with a score that is no finite number, or an id
            that stands twice; names file and line.
    """
    source = resolve_argument(argument, task)
    tables = [_read_file(file.path, metric) for file in source.files]
    ids = sorted(tables[0])
    for file, table in zip(source.files[1:], tables[1:], strict=True):
        differing = set(ids) ^ set(table)
        if differing:
            raise ComparisonError(
                f"{source.name}: {file.path} and {source.files[0].path} were evaluated on "
                f"different examples ({len(differing)} ids are in only one of them, such as "
                f"{min(differing)!r}). Evaluate all seeds of an arm on the same data."
            )
    scores_SN = np.array([[table[key] for key in ids] for table in tables], dtype=np.float64)
    return ArmScores(
        name=source.name,
        seeds=tuple(file.seed for file in source.files),
        ids=tuple(ids),
        scores_SN=scores_SN,
        kind="yes/no" if bool(np.isin(scores_SN, (0.0, 1.0)).all()) else "score",
        metric=metric,
        source=argument,
        notes=source.notes,
    )


def read_arms(arguments: Sequence[str], metric: str, task: str | None = None) -> list[ArmScores]:
    """Read several arms; where two would have the same name, each goes by its argument.

    Raises:
        ComparisonError, DataError: as `read_scores`; also for fewer than two arms.
    """
    if len(arguments) < 2:
        raise ComparisonError("a comparison needs two arms or more. Name a second one.")
    arms = [read_scores(argument, metric, task) for argument in arguments]
    names = [arm.name for arm in arms]
    if len(set(names)) == len(names):
        return arms
    return [arm if names.count(arm.name) == 1 else replace(arm, name=arm.source) for arm in arms]


def _read_file(path: Path, metric: str) -> dict[str, float]:
    scores: dict[str, float] = {}
    rows = list(read_json_lines(path))
    if not rows:
        raise DataError(f"{path}: no rows. Was the evaluation interrupted?")
    if not any(metric in _metrics_of(row) for row in rows):
        raise ComparisonError(_describe_missing_metric(path, metric, rows))
    for position, row in enumerate(rows):
        try:
            key = _read_id(row)
            score = _read_score(row, metric)
            if key in scores:
                raise DataError(f"the id {key!r} stands twice. Ids must be unique in a file.")
        except DataError as error:
            line = _find_line(path, position)
            raise DataError(f"{path}:{line}: {error}") from error
        scores[key] = score
    return scores


def _read_id(row: dict[str, Any]) -> str:
    value = row.get("id")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        what = (
            'no "id"' if value is None else f"the id {value!r} is neither text nor a whole number"
        )
        raise DataError(f'{what}. Examples are paired by id: write "id" into each row.')
    return str(value)


def _read_score(row: dict[str, Any], metric: str) -> float:
    value = _metrics_of(row).get(metric)
    if value is None:
        raise DataError(f"no score for {metric!r}. Score every row, or leave the row out.")
    if not isinstance(value, (bool, int, float)) or not _is_finite(value):
        raise DataError(f"the score {metric!r} is {value!r}, not a finite number.")
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of float64
        return False


def _metrics_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return what may be scores: nested ones first, then the row's own keys."""
    nested = row.get("scores")
    own = {key: value for key, value in row.items() if key not in ("id", "scores")}
    return {**own, **cast(dict[str, Any], nested)} if isinstance(nested, dict) else own


def _describe_missing_metric(path: Path, metric: str, rows: list[dict[str, Any]]) -> str:
    if _is_summary(path, metric):
        return (
            f"{path}: {metric!r} is a summary over all examples, without a value per example, so "
            "it cannot be compared in pairs. Choose a metric with one score per example."
        )
    known = sorted(
        {key for row in rows for key, value in _metrics_of(row).items() if _is_number(value)}
    )
    close = difflib.get_close_matches(metric, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    listing = f"; there are: {', '.join(known)}." if known else ", nor any other score."
    return f"{path}: no metric {metric!r}{listing}{hint}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _is_summary(path: Path, metric: str) -> bool:
    summary = path.with_suffix(".json")
    return summary.is_file() and metric in read_json(summary).get("metrics", {})


def _find_line(path: Path, position: int) -> int:
    """Return the line of the row at `position`; empty lines are no rows."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return [number for number, line in enumerate(lines, start=1) if line.strip()][position]
