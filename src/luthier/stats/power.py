"""What an evaluation could show, before it is paid for: `luthier power`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from luthier.stats.power_question import PowerQuestion, check_question
from luthier.stats.power_search import find_detectable, find_examples
from luthier.stats.power_ways import Stated, Way, find_seed_spread, list_ways


class Reach(NamedTuple):
    """What one way of comparing reaches at one α.

    Attributes:
        alpha: of the single test.
        detectable: smallest improvement found with the wanted power; None where even a perfect
            arm would not be.
        power: at the wanted difference; None without one.
        examples: needed for the wanted difference; None without one, or where no number is enough.
    """

    alpha: float
    detectable: float | None
    power: float | None
    examples: int | None


@dataclass(frozen=True)
class Outlook:
    """One way of comparing.

    Attributes:
        way: `unpaired` or `paired`.
        test: which test `luthier compare` takes.
        correlation, disagreement: of two arms on the same examples, with their basis.
        alone: for a single comparison at α.
        first: at α/m, the first step of Holm's correction over m comparisons.
    """

    way: str
    test: str
    correlation: Stated | None
    disagreement: Stated | None
    alone: Reach
    first: Reach


@dataclass(frozen=True)
class PowerReport:
    """The answer of `luthier power`.

    Attributes:
        question: what was asked.
        standard_error: of the rate (or mean) of one run on n examples.
        seed_spread: standard deviation from seed to seed; None with one seed.
        outlooks: the unpaired way first.
        notes: what the numbers leave open.
    """

    question: PowerQuestion
    standard_error: float
    seed_spread: Stated | None
    outlooks: tuple[Outlook, ...]
    notes: tuple[str, ...]


def describe_power(
    n: int,
    rate: float,
    *,
    difference: float | None = None,
    seeds: int = 1,
    arms: int = 2,
    disagreement: float | None = None,
    correlation: float | None = None,
    sd: float | None = None,
    seed_sd: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> PowerReport:
    """Say what an evaluation of `n` examples can tell.

    The tests are those of `luthier compare`: for yes/no answers exact McNemar (paired) and the
    two-proportion z (unpaired), for graded ones the sign-flip permutation, whose power is that of
    the t test, and with several seeds the crossed t. Arguments as in `PowerQuestion`.

    Raises:
        PlanError: a value out of range, or two that contradict each other; names the flag.
    """
    question = PowerQuestion(
        n, rate, difference, seeds, arms, disagreement, correlation, sd, seed_sd, alpha, power
    )
    check_question(question)
    deviation = math.sqrt(rate * (1 - rate)) if sd is None else sd
    outlooks = tuple(look_ahead(question, way) for way in list_ways(question))
    return PowerReport(
        question=question,
        standard_error=deviation / math.sqrt(n),
        seed_spread=find_seed_spread(question),
        outlooks=outlooks,
        notes=_collect_notes(question),
    )


def look_ahead(question: PowerQuestion, way: Way) -> Outlook:
    """What this way reaches, for one comparison alone and as the first of Holm's steps."""
    alone = _reach(question, way, question.alpha)
    is_single = question.comparisons == 1
    first = alone if is_single else _reach(question, way, question.alpha / question.comparisons)
    return Outlook(way.name, way.test, way.correlation, way.disagreement, alone, first)


def find_gain(question: PowerQuestion, way: Way, alpha: float | None = None) -> float | None:
    """Smallest improvement found with the wanted power; at Holm's first step without an α."""
    level = question.alpha / question.comparisons if alpha is None else alpha
    return find_detectable(
        lambda difference: way.power_of(difference, question.n, level), question.power, way.largest
    )


def _reach(question: PowerQuestion, way: Way, alpha: float) -> Reach:
    detectable = find_gain(question, way, alpha)
    wanted = question.difference
    if wanted is None:
        return Reach(alpha, detectable, None, None)
    examples = find_examples(lambda n: way.power_of(wanted, n, alpha), question.power)
    return Reach(alpha, detectable, way.power_of(wanted, question.n, alpha), examples)


def _collect_notes(question: PowerQuestion) -> tuple[str, ...]:
    notes: list[str] = []
    if question.seeds == 1:
        notes.append(
            "One seed an arm: a lucky run cannot be told from a better method. What varies from "
            "seed to seed is not in these numbers."
        )
    else:
        notes.append(
            "Half of what two arms disagree on is assumed to be noise of the single runs, which "
            "seeds average out."
        )
    if question.seeds == 2:
        notes.append("Two seeds measure their own spread poorly: three or more find much more.")
    return tuple(notes)


def power_as_json(report: PowerReport) -> dict[str, Any]:
    """Plain values ready for JSON, each assumption with its basis."""
    question = report.question
    return {
        **asdict(question),
        "comparisons": question.comparisons,
        "standard_error": report.standard_error,
        "seed_spread": _stated(report.seed_spread),
        "outlooks": [
            {
                "way": outlook.way,
                "test": outlook.test,
                "correlation": _stated(outlook.correlation),
                "disagreement": _stated(outlook.disagreement),
                "alone": outlook.alone._asdict(),
                "holm_first": outlook.first._asdict(),
            }
            for outlook in report.outlooks
        ],
        "notes": list(report.notes),
    }


def _stated(stated: Stated | None) -> dict[str, Any] | None:
    return None if stated is None else stated._asdict()
