"""How many examples a study scores with each of its tasks."""

from __future__ import annotations

from luthier.plan.amounts.row_sample import sample_rows
from luthier.plan.figure import Figure
from luthier.recipe.study import Study, TaskSpec


def count_test_examples(study: Study, stated: int | None = None) -> dict[str, Figure | None]:
    """Task's name → examples; None where that cannot be known before the rows are there.

    Args:
        stated: what a flag or the study's `plan` says, for every task.

    Raises:
        DataError: rows at hand that cannot be read.
    """
    return {task.name: _limit(_count(study, task, stated), task) for task in study.tasks}


def _count(study: Study, task: TaskSpec, stated: int | None) -> Figure | None:
    if stated is not None:
        return Figure(float(stated), "given", "test_examples")
    if task.data is not None:
        sample = sample_rows(task.data)
        return None if sample is None else sample.rows
    if study.sample.test is not None:
        return Figure(float(study.sample.test), "given", "sample.test")
    return None


def _limit(count: Figure | None, task: TaskSpec) -> Figure | None:
    if task.limit is None or (count is not None and count.value <= task.limit):
        return count
    return Figure(float(task.limit), "given", "limit")
