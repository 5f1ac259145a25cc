"""What a study's evaluation can tell, before it is run, and which arms it cannot tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from luthier.plan.figure import Figure, weakest
from luthier.stats.power import Outlook, Reach, look_ahead
from luthier.stats.power_question import PowerQuestion, check_question
from luthier.stats.power_ways import ASSUMED_CORRELATIONS, Way, list_ways

ASSUMED_RATE = Figure(0.8, "assumed", "a usual score; state yours as expected")
HIGHEST_RATE = 0.98
"""A baseline expected to be nearly perfect leaves no gain to look for; it is planned as this."""


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


class ArmPair(NamedTuple):
    """Two arms whose expected scores lie too close.

    Attributes:
        lower, higher: their names, by expected score.
        difference: of the expected scores.
        needed: smallest difference that would be found; None where none would.
    """

    lower: str
    higher: str
    difference: float
    needed: float | None


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
    question = _build_question(int(examples.value), rate.value, arms, seeds, correlation)
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


def _build_question(
    examples: int, rate: float, arms: int, seeds: int, correlation: Figure | None
) -> PowerQuestion:
    chosen = ASSUMED_CORRELATIONS[0] if correlation is None else correlation.value
    question = PowerQuestion(n=examples, rate=rate, seeds=seeds, arms=arms, correlation=chosen)
    check_question(question)
    return question


def find_indistinguishable(
    scores: Mapping[str, float],
    examples: int,
    *,
    seeds: int = 1,
    paired: bool = True,
    correlation: Figure | None = None,
) -> tuple[ArmPair, ...]:
    """All pairs of arms whose expected scores the evaluation would probably not tell apart.

    A pair counts where its difference is found with less than 80% power at the first step of
    Holm's correction over the arms.

    Args:
        scores: arm → expected score, between 0 and 1.
        examples: that every arm answers.
        paired: on the same examples, as Luthier's studies are; False for figures of separate
            test sets.

    Returns:
        The pairs, closest first.
    """
    names = sorted(scores, key=lambda name: scores[name])
    found: list[ArmPair] = []
    for position, lower in enumerate(names):
        question = _build_question(examples, scores[lower], len(names), seeds, correlation)
        way = list_ways(question)[1 if paired else 0]
        needed = look_ahead(question, way).first.detectable
        for higher in names[position + 1 :]:
            difference = scores[higher] - scores[lower]
            if not _is_found(question, way, difference):
                found.append(ArmPair(lower, higher, difference, needed))
    return tuple(sorted(found, key=lambda pair: pair.difference))


def _is_found(question: PowerQuestion, way: Way, difference: float) -> bool:
    if difference <= 0:
        return False
    strict = question.alpha / question.comparisons
    return way.power_of(difference, question.n, strict) >= question.power


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
    pairs = find_indistinguishable(scores, examples, seeds=plan.seeds, correlation=correlation)
    if not pairs:
        return ()
    how_many = len(scores) * (len(scores) - 1) // 2
    extent = "none of its" if len(pairs) == how_many else f"{len(pairs)} of the {how_many}"
    head = (
        f"{plan.task}: {examples:,} examples cannot tell these arms apart, going by their expected "
        f"scores: {extent} pairs of arms "
    )
    head += "can be told apart" if len(pairs) == how_many else "lie too close"
    warnings = [f"{head} (under {_needed(pairs)} points; 80% power, {_how(plan, correlation)})."]
    warnings += _warn_of_baseline(pairs, scores, baseline)
    warnings += _warn_of_best(pairs, scores)
    return tuple(warnings)


def _how(plan: TaskPlan, correlation: Figure | None) -> str:
    assumed = correlation or Figure(ASSUMED_CORRELATIONS[0], "assumed")
    seeds = "one seed" if plan.seeds == 1 else f"{plan.seeds} seeds"
    return f"paired, {assumed.basis} correlation {assumed.value:g}, {seeds}, Holm over the arms"


def _needed(pairs: Sequence[ArmPair]) -> str:
    sizes = [pair.needed for pair in pairs if pair.needed is not None]
    if not sizes:
        return "any number of"
    low, high = f"{100 * min(sizes):.1f}", f"{100 * max(sizes):.1f}"
    return low if low == high else f"{low} to {high}"


def _warn_of_baseline(
    pairs: Sequence[ArmPair], scores: Mapping[str, float], baseline: str | None
) -> list[str]:
    near = [
        (other, scores[other] - scores[baseline])
        for pair in pairs
        if baseline in (pair.lower, pair.higher) and baseline is not None
        for other in [pair.higher if pair.lower == baseline else pair.lower]
    ]
    if not near:
        return []
    listed = ", ".join(f"{name} ({_points(gap)})" for name, gap in near)
    return [f"Not to be told from the baseline {baseline}: {listed}."]


def _warn_of_best(pairs: Sequence[ArmPair], scores: Mapping[str, float]) -> list[str]:
    best = max(scores, key=lambda name: scores[name])
    rivals = [(pair.lower, pair.difference) for pair in pairs if pair.higher == best]
    if not rivals:
        return []
    listed = ", ".join(f"{name} ({_points(-gap)})" for name, gap in rivals)
    return [f"The best arm, {best}, may as well be: {listed}."]


def _points(gap: float) -> str:
    sign = "−" if gap < 0 else "+"
    return f"{sign}{100 * abs(gap):.1f}"
