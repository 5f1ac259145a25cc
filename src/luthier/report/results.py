"""A study directory, read: every figure that a report may show, and what is still missing.

The directory may be in any state: nothing trained yet, an arm failed, a run half-way. Only
`study.yaml` is needed; whatever else is absent is left out, never guessed. The layout is in
docs/architecture.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from luthier.errors import DataError
from luthier.files import RunLayout, read_json

BASE = "base"
"""The name under which the untouched model stands beside the arms."""

Status = Literal["done", "failed", "running", "missing"]


@dataclass(frozen=True)
class Metric:
    """One summary value of one evaluation.

    Attributes:
        value: the mean over the examples, or the summary figure itself.
        n: how many examples it rests on.
        kind: "yes/no", "score", or "summary" (no value per example, so it cannot be paired).
    """

    value: float
    n: int
    kind: str


@dataclass(frozen=True)
class Evaluation:
    """One model scored on one task.

    Attributes:
        task: the task's name in the study, after which its files are called.
        kind: which task it is; several names may share one.
        examples: the file with one line per example, whether or not it exists.
        labels: the classes, in the order of `confusion_matrix` (rows: truth, columns: predicted).
    """

    task: str
    kind: str
    n: int
    metrics: Mapping[str, Metric]
    examples: Path
    labels: tuple[str, ...] = ()
    confusion_matrix: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class LossPoint:
    """One loss on one step of a run."""

    step: int
    loss: float


@dataclass(frozen=True)
class Failure:
    """What stopped a run: the error's type and its message."""

    error: str
    message: str


@dataclass(frozen=True)
class RunResults:
    """One arm with one seed, or the base model (seed None).

    Attributes:
        status: "running" means started and not ended; a killed process looks the same.
        settings: the frozen recipe, nested as in recipe.yaml.
        training: the values of done.json.
    """

    arm: str
    seed: int | None
    status: Status
    directory: Path
    training: Mapping[str, Any] = field(default_factory=dict[str, Any])
    losses: tuple[LossPoint, ...] = ()
    validation_losses: tuple[LossPoint, ...] = ()
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict[str, Evaluation])
    failure: Failure | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def title(self) -> str:
        """`lora, seed 3`, or the base model's name alone."""
        return self.arm if self.seed is None else f"{self.arm}, seed {self.seed}"


@dataclass(frozen=True)
class ArmResults:
    """One arm: its overrides in the study file and its run for each seed."""

    name: str
    settings: Mapping[str, Any]
    runs: tuple[RunResults, ...]


@dataclass(frozen=True)
class StudyResults:
    """Everything that the files of a study directory say."""

    directory: Path
    name: str
    question: str
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]
    baseline: str
    base_settings: Mapping[str, Any]
    base: RunResults
    arms: tuple[ArmResults, ...]

    @property
    def runs(self) -> tuple[RunResults, ...]:
        """Every run of every arm, in the study's order, without the base model."""
        return tuple(run for arm in self.arms for run in arm.runs)

    @property
    def unfinished(self) -> tuple[RunResults, ...]:
        """What is not done: the base model's scoring too, where the study has tasks."""
        return tuple(run for run in (self.base, *self.runs) if run.status != "done")

    @property
    def entries(self) -> tuple[ArmResults, ...]:
        """The base model as an arm of its own, then the arms."""
        return (ArmResults(BASE, {}, (self.base,)), *self.arms)


def read_study(directory: Path) -> StudyResults:
    """Read the study in `directory`; raises DataError where it holds no readable study.yaml."""
    study = _read_yaml(directory / "study.yaml")
    if not study:
        raise DataError(
            f"{directory} holds no study.yaml: give the folder that `luthier study run` wrote."
        )
    kinds = _name_tasks(study.get("tasks"))
    seeds = tuple(int(seed) for seed in study.get("seeds") or (0,))
    arms: list[ArmResults] = []
    for name, overrides in _as_mapping(study.get("arms")).items():
        runs = tuple(
            _read_run(directory / name / f"seed-{seed}", name, seed, kinds) for seed in seeds
        )
        arms.append(ArmResults(name, _as_mapping(overrides), runs))
    base = _read_run(directory / BASE, BASE, None, kinds)
    scored = [
        task for run in (base, *(r for a in arms for r in a.runs)) for task in run.evaluations
    ]
    return StudyResults(
        directory=directory,
        name=str(study.get("study") or study.get("name") or directory.resolve().name),
        question=str(study.get("question") or "").strip(),
        seeds=seeds,
        tasks=tuple(dict.fromkeys([*kinds, *scored])),
        baseline=str(study.get("baseline") or BASE),
        base_settings=_as_mapping(study.get("base")),
        base=base,
        arms=tuple(arms),
    )


def _name_tasks(tasks: Any) -> dict[str, str]:
    """Which task each name stands for; a task is a name alone, or a mapping with `task`."""
    kinds: dict[str, str] = {}
    for task in cast("list[Any]", list(tasks or ())):
        kind = str(_as_mapping(task).get("task") or task)
        kinds[str(_as_mapping(task).get("name") or kind)] = kind
    return kinds


def _read_run(root: Path, arm: str, seed: int | None, kinds: Mapping[str, str]) -> RunResults:
    layout = RunLayout(root)
    evaluations = _read_evaluations(layout.evaluations, kinds)
    training = _read_optional_json(layout.done)
    losses, validation_losses = _read_losses(layout.metrics)
    error = _read_optional_json(layout.error)
    ended = bool(training) or seed is None
    complete = ended and set(kinds) <= set(evaluations)
    # An error.json beside a complete run is left over from an attempt before the one that worked.
    status: Status = "missing"
    if complete:
        status = "done"
    elif error:
        status = "failed"
    elif losses or evaluations or training or layout.recipe.exists():
        status = "running"
    return RunResults(
        arm=arm,
        seed=seed,
        status=status,
        directory=root,
        training=training,
        losses=losses,
        validation_losses=validation_losses,
        evaluations=evaluations,
        failure=Failure(str(error.get("error", "")), str(error.get("message", "")))
        if status == "failed"
        else None,
        provenance=_read_optional_json(layout.provenance),
        settings=_read_yaml(layout.recipe),
    )


def _read_evaluations(folder: Path, kinds: Mapping[str, str]) -> dict[str, Evaluation]:
    evaluations: dict[str, Evaluation] = {}
    for path in sorted(folder.glob("*.json")):
        summary = _as_mapping(read_json(path))
        metrics = {
            name: Metric(float(entry["value"]), int(entry["n"]), str(entry["kind"]))
            for name, entry in _as_mapping(summary.get("metrics")).items()
            if entry.get("value") is not None
        }
        task = path.stem
        evaluations[task] = Evaluation(
            task=task,
            kind=kinds.get(task) or str(summary.get("task") or task),
            n=int(summary.get("n") or 0),
            metrics=metrics,
            examples=path.with_suffix(".jsonl"),
            labels=tuple(str(label) for label in summary.get("labels") or ()),
            confusion_matrix=tuple(
                tuple(int(count) for count in row) for row in summary.get("confusion_matrix") or ()
            ),
        )
    return evaluations


def _read_losses(path: Path) -> tuple[tuple[LossPoint, ...], tuple[LossPoint, ...]]:
    """Training and validation losses by step; a resumed run's later line for a step counts."""
    by_name: dict[str, dict[int, float]] = {"loss": {}, "val_loss": {}}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = _as_mapping(json.loads(line))
            except json.JSONDecodeError:
                continue  # a process that is writing, or was killed, leaves half a line
            for name, points in by_name.items():
                value = row.get(name)
                if isinstance(value, int | float) and math.isfinite(value) and "step" in row:
                    points[int(row["step"])] = float(value)
    losses, validation_losses = (
        tuple(LossPoint(step, points[step]) for step in sorted(points))
        for points in by_name.values()
    )
    return losses, validation_losses


def _read_optional_json(path: Path) -> dict[str, Any]:
    return _as_mapping(read_json(path)) if path.exists() else {}


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return _as_mapping(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid YAML ({error}).") from error


def _as_mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return {str(key): item for key, item in cast("dict[Any, Any]", value).items()}
