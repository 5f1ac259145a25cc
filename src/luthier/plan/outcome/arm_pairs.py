"""Which arms an evaluation would not tell apart, if their scores came out as expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from luthier.plan.figure import Figure
from luthier.stats.power import find_gain
from luthier.stats.power_question import PowerQuestion, check_question
from luthier.stats.power_ways import ASSUMED_CORRELATIONS, Way, list_ways


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


def find_indistinguishable(
    scores: Mapping[str, float],
    examples: int,
    *,
    seeds: int = 1,
    paired: bool = True,
    correlation: Figure | None = None,
    comparisons: int | None = None,
) -> tuple[ArmPair, ...]:
    """All pairs of arms whose expected scores the evaluation would probably not tell apart.

    A pair counts where its difference is found with less than 80% power at the first step of
    Holm's correction.

    Args:
        scores: arm → expected score, between 0 and 1.
        examples: that every arm answers.
        paired: on the same examples, as Luthier's studies are; False for figures of separate
            test sets.
        comparisons: that Holm corrects for; one less than there are scores without it.

    Returns:
        The pairs, closest first.
    """
    names = sorted(scores, key=lambda name: scores[name])
    arms = len(names) if comparisons is None else comparisons + 1
    found: list[ArmPair] = []
    for position, lower in enumerate(names[:-1]):
        question = build_question(examples, scores[lower], max(2, arms), seeds, correlation)
        way = list_ways(question)[1 if paired else 0]
        gaps = {higher: scores[higher] - scores[lower] for higher in names[position + 1 :]}
        near = {higher: gap for higher, gap in gaps.items() if not _is_found(question, way, gap)}
        needed = find_gain(question, way) if near else None
        found += [ArmPair(lower, higher, gap, needed) for higher, gap in near.items()]
    return tuple(sorted(found, key=lambda pair: pair.difference))


def _is_found(question: PowerQuestion, way: Way, difference: float) -> bool:
    if difference <= 0:
        return False
    strict = question.alpha / question.comparisons
    return way.power_of(difference, question.n, strict) >= question.power


def group_indistinguishable(
    scores: Mapping[str, float], pairs: Sequence[ArmPair]
) -> tuple[tuple[str, ...], ...]:
    """The largest sets of arms of which no two can be told apart, lowest scores first.

    An arm between two others is told from neither if they are not told apart, so every set is a
    stretch of the arms in the order of their scores.
    """
    names = sorted(scores, key=lambda name: scores[name])
    near = {(pair.lower, pair.higher) for pair in pairs}
    groups: list[tuple[str, ...]] = []
    reached = 0
    for start, lowest in enumerate(names):
        end = start + 1
        while end < len(names) and (lowest, names[end]) in near:
            end += 1
        if end - start > 1 and end > reached:
            groups.append(tuple(names[start:end]))
            reached = end
    return tuple(groups)


def build_question(
    examples: int, rate: float, arms: int, seeds: int, correlation: Figure | None
) -> PowerQuestion:
    chosen = ASSUMED_CORRELATIONS[0] if correlation is None else correlation.value
    question = PowerQuestion(n=examples, rate=rate, seeds=seeds, arms=arms, correlation=chosen)
    check_question(question)
    return question
