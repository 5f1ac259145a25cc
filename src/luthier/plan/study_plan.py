"""A study's plan: every arm's run, what all of them take, and what the evaluation can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from luthier.errors import DataError
from luthier.plan.amounts.row_sample import sample_rows
from luthier.plan.amounts.scored_rows import count_test_examples
from luthier.plan.figure import Figure, weakest
from luthier.plan.inputs import PlanInputs, expected_scores, find_hardest_rate, inputs_of_arm
from luthier.plan.outcome.evaluation import (
    TaskPlan,
    plan_evaluation,
    warn_of_evaluation,
    without_differences,
)
from luthier.plan.outcome.serving import Serving, compare_serving
from luthier.plan.outcome.value import ArmValue, value_arms
from luthier.plan.run_plan import RunPlan, Surroundings, plan_run
from luthier.recipe.dataset import DatasetSource, resolve_source
from luthier.recipe.study import BASE_ARM, Arm, LoadedStudy, Study

# Scored in nats per token, which are no share of right answers.
UNBOUNDED_TASKS = ("perplexity",)


class StudyPlan(NamedTuple):
    """What a study takes.

    Attributes:
        study: its name.
        question: that it asks.
        runs: one plan for each arm.
        seeds: how often each arm is trained.
        tasks: what each task's evaluation can tell; those whose examples can be counted.
        expected: arm → metric → score that is expected of it.
        warnings: what the evaluation cannot tell, the most important first.
        hours: of all arms and seeds, one after another; None where an arm's are not known.
        usd: of them; None where an arm's is not known.
        values: what each arm gives for its money; empty where there is nothing to set beside it.
        serving: what the trained model's answers cost; None where the study does not ask.
    """

    study: str
    question: str
    runs: tuple[RunPlan, ...]
    seeds: int
    tasks: tuple[TaskPlan, ...]
    expected: Mapping[str, Mapping[str, float]]
    warnings: tuple[str, ...]
    hours: Figure | None
    usd: Figure | None
    values: tuple[ArmValue, ...]
    serving: Serving | None


def plan_study(
    loaded: LoadedStudy, flags: PlanInputs, config: Path | None = None, folder: Path | None = None
) -> StudyPlan:
    """Plan every arm of a study.

    Args:
        flags: what the command line says; it wins over the study's `plan`.
        config: a model's configuration file that the user names.
        folder: the study's folder, where its tokenised data may be.

    Raises:
        PlanError: an unknown model, device or way of sharing.
        DataError: rows that cannot be read, or fewer than the study draws.
    """
    study = loaded.study
    _check_enough_rows(study)
    stated = flags.test_examples or (study.plan.test_examples if study.plan else None)
    examples = count_test_examples(study, stated)
    prepared = None if folder is None else folder / "data" / "prepared"
    around = Surroundings(config, prepared, study.tasks, examples)
    runs = tuple(_plan_arm(loaded, arm, flags, around) for arm in loaded.arms)
    seeds = len(study.seeds)
    hours = _total([run.time.total_hours if run.counted else None for run in runs], seeds)
    usd = _total([run.cost.usd if run.cost else None for run in runs], seeds)
    section = study.plan.serving if study.plan else None
    expected = expected_scores(study.plan)
    tasks = _plan_tasks(loaded, examples, expected)
    return StudyPlan(
        study.study,
        study.question,
        runs,
        seeds,
        tasks,
        expected,
        _warn(loaded, examples, tasks, expected),
        hours,
        usd,
        value_arms(runs, expected, BASE_ARM),
        compare_serving(section, _dearest(runs)) if section else None,
    )


def _plan_tasks(
    loaded: LoadedStudy,
    examples: Mapping[str, Figure | None],
    expected: Mapping[str, Mapping[str, float]],
) -> tuple[TaskPlan, ...]:
    study = loaded.study
    known = {name: count for name, count in examples.items() if count is not None}
    rate = find_hardest_rate(expected.get(study.baseline, {}))
    # The untouched model is always scored beside the arms.
    plans = plan_evaluation(known, len(loaded.arms) + 1, len(study.seeds), expected_rate=rate)
    unbounded = {task.name for task in study.tasks if task.task in UNBOUNDED_TASKS}
    return tuple(without_differences(plan) if plan.task in unbounded else plan for plan in plans)


def _warn(
    loaded: LoadedStudy,
    examples: Mapping[str, Figure | None],
    tasks: Sequence[TaskPlan],
    expected: Mapping[str, Mapping[str, float]],
) -> tuple[str, ...]:
    """What the expected scores say of the first task of shares; then tasks not to be counted."""
    warnings: list[str] = []
    metrics = dict.fromkeys(metric for scores in expected.values() for metric in scores)
    shares = [task for task in tasks if task.is_share]
    for metric in metrics if shares else ():
        scores = {arm: found[metric] for arm, found in expected.items() if metric in found}
        beyond = [f"{arm} {score:g}" for arm, score in scores.items() if not 0 <= score <= 1]
        if beyond:
            warnings.append(
                f"`plan.expected`, {metric}: {', '.join(beyond)} is no share, so what it asks of "
                "the evaluation is not known. A share lies between 0 and 1: 0.85 for 85%."
            )
        else:
            named = shares[0]._replace(task=f"{shares[0].task}, {metric}")
            warnings += warn_of_evaluation(named, scores, baseline=loaded.study.baseline)
    warnings += [
        f"{name}: how many examples are scored is not known. Give --test-examples."
        for name, count in examples.items()
        if count is None
    ]
    return tuple(warnings)


def _plan_arm(loaded: LoadedStudy, arm: Arm, flags: PlanInputs, around: Surroundings) -> RunPlan:
    study = loaded.study
    inputs = inputs_of_arm(flags, study, arm.name)
    recipe = arm.recipe
    if study.data is not None:
        sources = tuple(resolve_source(source, study.data) for source in recipe.datasets)
        recipe = recipe.model_copy(update={"datasets": sources})
        inputs = inputs._replace(samples=inputs.samples or _left_to_train(study))
    return plan_run(arm.name, recipe, inputs, around)


def _left_to_train(study: Study) -> int | None:
    """Rows of `data` that are not drawn for testing; None where they are not at hand."""
    assert study.data is not None
    sample = sample_rows(study.data)
    return None if sample is None else round(sample.rows.value) - (study.sample.test or 0)


def _check_enough_rows(study: Study) -> None:
    """Refuse what the study's split would refuse after the start.

    Raises:
        DataError: fewer rows at hand than are to be drawn.
    """
    train, test = study.sample.train, study.sample.test or 0
    if study.data is None or (train is not None and _made_to_measure(study.data)):
        return
    sample = sample_rows(study.data)
    # A number of rows that is only estimated from the file's size refuses nothing.
    if sample is None or sample.rows.basis == "computed":
        return
    rows = round(sample.rows.value)
    if rows < test + (train or 1):
        others = "the others" if train is None else f"{train:,}"
        raise DataError(
            f"data: {rows:,} rows are too few to test on {test:,} and train on {others}. "
            "Lower the sizes under `sample`, or bring more data."
        )


def _made_to_measure(data: DatasetSource) -> bool:
    """Whether rows are generated in just the number that the study draws."""
    return data.generate is not None and "count" not in data.model_fields_set


def _dearest(runs: Sequence[RunPlan]) -> Figure | None:
    """What one run costs at most: one model of a study is deployed, whichever wins."""
    known = [run.cost.usd for run in runs if run.cost and run.cost.usd]
    return max(known, key=lambda figure: figure.value) if known else None


def _total(figures: Sequence[Figure | None], seeds: int) -> Figure | None:
    known = [figure for figure in figures if figure is not None]
    if len(known) < len(figures):
        return None
    total = seeds * sum(figure.value for figure in known)
    arms = f"{len(figures)} arm{'s' if len(figures) != 1 else ''}"
    runs = arms if seeds == 1 else f"{arms} × {seeds} seeds"
    return Figure(total, weakest(*known), runs)
