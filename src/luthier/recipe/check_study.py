"""Check the keys of a study that are not a recipe's: sizes, seeds, tasks, baseline, plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from luthier.errors import Problem
from luthier.recipe.check import check_fields, check_source, shown
from luthier.recipe.dataset import DatasetSource
from luthier.recipe.layer import KeyPath, Layer
from luthier.recipe.plan_section import PlanSection, ServingSection, find_plan_mistakes
from luthier.recipe.study import BASE_ARM, Sample, Study, TaskSpec
from luthier.recipe.translate import translate_dataset, unknown_key

# Stand-ins for what is missing or wrong, so that everything else is judged too.
_STUDY_STANDINS: Mapping[str, Any] = {
    "study": "study",
    "arms": {"arm": {}},
    "tasks": ["perplexity"],
}
_SOME_DATA = DatasetSource(path="missing")


Model = TypeVar("Model", bound=BaseModel)


class CheckedStudy(NamedTuple):
    """A study, with stand-ins where there are problems, and what there is to note."""

    study: Study
    problems: list[Problem]
    notes: list[str]


def check_study(layer: Layer, values: Mapping[str, Any]) -> CheckedStudy:
    """Check a study's own keys.

    Args:
        layer: the study as written, for the places.
        values: its keys without `null`; `base`, `arms` and `grid` translated and checked already.
    """
    work = _Work(layer)
    values = dict(values)
    if isinstance(values.get("data"), str | dict):
        values["data"] = work.source(("data",), values["data"])
    if isinstance(values.get("sample"), dict):
        values["sample"] = work.part(Sample, ("sample",), values["sample"])
    if isinstance(values.get("plan"), dict):
        values["plan"] = work.plan(values["plan"])
    tasks = values.get("tasks")
    listed: Any = [tasks] if isinstance(tasks, str | dict) else tasks
    if isinstance(listed, list) and listed:
        values["tasks"] = [work.task(index, item) for index, item in enumerate(listed)]
    fields = check_fields(Study, values, layer, (), frozenset(), _STUDY_STANDINS)
    work.problems += fields.problems
    if "tasks" not in fields.invalid:
        work.judge_tasks(fields.model)
    if not {"baseline", "arms"} & fields.invalid:
        work.judge_baseline(fields.model)
    if not {"plan", "arms"} & fields.invalid:
        work.judge_plan(fields.model)
    return CheckedStudy(fields.model, work.problems, work.notes)


class _Work:
    """The study under check and what was found so far."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.doubtful_tasks: set[int] = set()

    def source(self, path: KeyPath, value: str | dict[str, Any]) -> DatasetSource:
        values = {"path": value} if isinstance(value, str) else value
        translated = translate_dataset(self.layer, path, values)
        kept = {k: v for k, v in translated.layer.values.items() if v is not None}
        checked = check_source(self.layer, path, kept)
        self.problems += [*translated.problems, *checked.problems]
        self.notes += [*translated.notes, *checked.notes]
        return checked.source or _SOME_DATA

    def part(
        self,
        model: type[Model],
        path: KeyPath,
        values: Mapping[str, Any],
        standins: Mapping[str, Any] | None = None,
    ) -> Model:
        for key in values:
            if key not in model.model_fields:
                what, mend = unknown_key(key, model.model_fields)
                self._add((*path, key), what, mend)
        known = {k: v for k, v in values.items() if k in model.model_fields and v is not None}
        fields = check_fields(model, known, self.layer, path, frozenset(), standins)
        self.problems += fields.problems
        return fields.model

    def task(self, index: int, item: Any) -> TaskSpec:
        path, found_before = ("tasks", index), len(self.problems)
        values: Any = {"task": item} if isinstance(item, str) else item
        if not isinstance(values, dict):
            what = f"a task is {shown(item)}; it must be a task's name or a mapping."
            self._add(path, what, "Write `perplexity`.")
            values = {"task": "perplexity"}
        if isinstance(values.get("data"), str | dict):
            values = {**values, "data": self.source((*path, "data"), values["data"])}
        spec = self.part(TaskSpec, path, values, {"task": "perplexity"})
        if len(self.problems) > found_before:
            self.doubtful_tasks.add(index)
        return spec

    def plan(self, values: Mapping[str, Any]) -> PlanSection:
        if isinstance(values.get("serving"), dict):
            path: KeyPath = ("plan", "serving")
            values = {**values, "serving": self.part(ServingSection, path, values["serving"])}
        return self.part(PlanSection, ("plan",), values)

    def judge_tasks(self, study: Study) -> None:
        names: set[str] = set()
        for index, task in enumerate(study.tasks):
            if index in self.doubtful_tasks:
                continue
            if task.data is None and study.data is None and "data" not in self.layer.values:
                what = f"task `{task.name}` has no rows to score."
                self._add(
                    ("tasks", index), what, "Give the study `data`, or the task its own `data`."
                )
            if task.name in names:
                what = f"two tasks are named `{task.name}`."
                self._add(("tasks", index), what, "Give one of them another `name`.")
            names.add(task.name)

    def judge_baseline(self, study: Study) -> None:
        names = [BASE_ARM, *study.arms]
        if study.baseline not in names:
            listed = ", ".join(f"`{name}`" for name in names[:6])
            more = ", …" if len(names) > 6 else ""
            what = f"there is no arm `{study.baseline}` to compare with."
            self._add(("baseline",), what, f"Write one of {listed}{more}.")

    def judge_plan(self, study: Study) -> None:
        if study.plan is None:
            return
        for mistake in find_plan_mistakes(study.plan, study.arms, BASE_ARM):
            self._add(("plan", *mistake.path), mistake.what, mistake.mend)

    def _add(self, path: KeyPath, what: str, mend: str) -> None:
        self.problems.append(self.layer.problem(path, what, mend))
