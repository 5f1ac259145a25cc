"""What a study's evaluation can tell before it is run, and what to say where that is too little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from luthier.plan.figure import Figure, weakest
from luthier.plan.outcome.arm_pairs import (
    ArmPair,
    build_question,
    find_indistinguishable,
    group_indistinguishable,
)
from luthier.stats.power import Outlook, Reach, look_ahead
from luthier.stats.power_ways import ASSUMED_CORRELATIONS, list_ways

ASSUMED_RATE = Figure(0.8, "assumed", "a usual score; state yours as expected")


class TaskPlan(NamedTuple):
    """What one task's evaluation can tell.

    Attributes:
        task: its name.
        examples: that every arm answers.
        rate: expected score of the baseline, as a share.
        comparisons: arms beside the baseline.
        seeds: runs of every arm.
        detectable_difference: smallest gain found with 80% power at 5%, paired on the examples
            and Holm-corrected over the arms (its first step); None where no gain would be found.
        paired, unpaired: the same for one comparison alone.
        unpaired_holm: as `detectable_difference`, on different examples.
        is_share: whether its score lies between 0 and 1; without that no difference is known.
    """

    task: str
    examples: Figure
    rate: Figure
    comparisons: int
    seeds: int
    detectable_difference: Figure | None
    paired: Figure | None
    unpaired: Figure | None
    unpaired_holm: Figure | None
    is_share: bool = True


def plan_evaluation(
    tasks: Mapping[str, Figure | int],
    arms: int,
    seeds: int,
    *,
    expected_rate: Figure | None = None,
    correlation: Figure | None = None,
) -> tuple[TaskPlan, ...]:
    """Say for each task which difference its evaluation finds with 80% power at 5%.

    Scores are planned as shares of right answers; a graded score between 0 and 1 varies no more
    than that.

    Args:
        tasks: name → examples.
        arms: rows that are compared, the baseline among them; with the untouched model, if the
            study scores it.
        expected_rate: score of the baseline; 0.8 is assumed without it.
        correlation: of two arms' scores over the examples; 0.5 is assumed without it.

    Raises:
        PlanError: fewer than two examples, or a rate outside 0 to 1.
    """
    return tuple(
        _plan_task(
            task,
            examples if isinstance(examples, Figure) else Figure(examples, "given"),
            max(2, arms),
            seeds,
            expected_rate or ASSUMED_RATE,
            correlation,
        )
        for task, examples in tasks.items()
    )


def _plan_task(
    task: str,
    examples: Figure,
    arms: int,
    seeds: int,
    rate: Figure,
    correlation: Figure | None,
) -> TaskPlan:
    question = build_question(int(examples.value), rate.value, arms, seeds, correlation)
    unpaired_way, paired_way = list_ways(question)
    unpaired, paired = look_ahead(question, unpaired_way), look_ahead(question, paired_way)
    resting_on = [examples, rate]
    if seeds > 1:
        resting_on.append(Figure(0.0, "assumed", "spread of the seeds"))
    assumed = correlation or Figure(ASSUMED_CORRELATIONS[0], "assumed")

    def figure_of(outlook: Outlook, reach: Reach) -> Figure | None:
        if reach.detectable is None:
            return None
        is_paired = outlook.way == "paired"
        basis = weakest(*resting_on, *([assumed] if is_paired else []))
        how = f"paired, correlation {assumed.value:g}" if is_paired else "unpaired"
        corrected = reach.alpha < question.alpha
        holm = f", Holm over {question.comparisons}" if corrected else ""
        return Figure(reach.detectable, basis, f"{outlook.test}, {how}{holm}, rate {rate.value:g}")

    return TaskPlan(
        task=task,
        examples=examples,
        rate=rate,
        comparisons=question.comparisons,
        seeds=seeds,
        detectable_difference=figure_of(paired, paired.first),
        paired=figure_of(paired, paired.alone),
        unpaired=figure_of(unpaired, unpaired.alone),
        unpaired_holm=figure_of(unpaired, unpaired.first),
    )


def without_differences(plan: TaskPlan) -> TaskPlan:
    """The plan of a task whose score is no share, such as nats per token: only runs tell."""
    return plan._replace(
        detectable_difference=None, paired=None, unpaired=None, unpaired_holm=None, is_share=False
    )


def warn_of_evaluation(
    plan: TaskPlan,
    scores: Mapping[str, float] | None = None,
    *,
    baseline: str | None = None,
    correlation: Figure | None = None,
) -> tuple[str, ...]:
    """What to say first of a plan whose evaluation cannot tell its arms apart.

    Args:
        scores: arm → expected score, where the study states them.
        baseline: the arm that the others are compared with.

    Returns:
        Sentences, the most important first; none where all arms can be told apart.
    """
    examples = int(plan.examples.value)
    if not scores or len(scores) < 2:
        return ()
    pairs = find_indistinguishable(
        scores,
        examples,
        seeds=plan.seeds,
        correlation=correlation,
        comparisons=max(plan.comparisons, len(scores) - 1),
    )
    if not pairs:
        return ()
    warnings = [_warn_of_pairs(plan, pairs, scores, correlation)]
    warnings += _warn_of_groups(pairs, scores)
    warnings += _warn_of_baseline(pairs, scores, baseline)
    warnings += _warn_of_best(pairs, scores)
    return tuple(warnings)


def _warn_of_pairs(
    plan: TaskPlan,
    pairs: Sequence[ArmPair],
    scores: Mapping[str, float],
    correlation: Figure | None,
) -> str:
    of_all = len(scores) * (len(scores) - 1) // 2
    which = (
        "no two of these arms can be told apart"
        if len(pairs) == of_all
        else f"{len(pairs)} of the {of_all} pairs of arms cannot be told apart"
    )
    return (
        f"{plan.task}: with {int(plan.examples.value):,} examples {which}, going by their expected "
        f"scores: a difference has to reach {_needed(pairs)} "
        f"(80% power, {_how(plan, correlation)}; scores taken for shares of right answers, graded "
        "ones vary less)."
    )


def _warn_of_groups(pairs: Sequence[ArmPair], scores: Mapping[str, float]) -> list[str]:
    groups = group_indistinguishable(scores, pairs)
    listed = [", ".join(f"{name} {100 * scores[name]:.1f}" for name in group) for group in groups]
    return [f"Not to be told apart: {'; '.join(listed)}."]


def _how(plan: TaskPlan, correlation: Figure | None) -> str:
    assumed = correlation or Figure(ASSUMED_CORRELATIONS[0], "assumed")
    seeds = "one seed" if plan.seeds == 1 else f"{plan.seeds} seeds"
    return f"paired, {assumed.basis} correlation {assumed.value:g}, {seeds}, Holm over the arms"


def _needed(pairs: Sequence[ArmPair]) -> str:
    sizes = [pair.needed for pair in pairs if pair.needed is not None]
    if not sizes:
        return "more than there is room for"
    low, high = f"{100 * min(sizes):.1f}", f"{100 * max(sizes):.1f}"
    span = f"{low} points" if low == high else f"{low} to {high} points"
    return span if len(sizes) == len(pairs) else f"{span}, or more than there is room for"


def _warn_of_baseline(
    pairs: Sequence[ArmPair], scores: Mapping[str, float], baseline: str | None
) -> list[str]:
    if baseline is None or baseline not in scores:
        return []
    near = [
        (name, scores[name] - scores[baseline])
        for pair in pairs
        if baseline in (pair.lower, pair.higher)
        for name in (pair.lower, pair.higher)
        if name != baseline
    ]
    if not near:
        return []
    listed = ", ".join(f"{name} ({_points(gap)})" for name, gap in near)
    return [f"Not to be told from the baseline {baseline}: {listed}."]


def _warn_of_best(pairs: Sequence[ArmPair], scores: Mapping[str, float]) -> list[str]:
    best = max(scores, key=lambda name: scores[name])
    if len(pairs) == len(scores) * (len(scores) - 1) // 2:
        return []  # has been said of every arm
    rivals = [(pair.lower, pair.difference) for pair in pairs if pair.higher == best]
    if not rivals:
        return []
    listed = ", ".join(f"{name} ({_points(-gap)})" for name, gap in rivals)
    return [f"The best arm, {best}, may as well be: {listed}."]


def _points(gap: float) -> str:
    sign = "−" if gap < 0 else "+"
    return f"{sign}{100 * abs(gap):.1f}"
