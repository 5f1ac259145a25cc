"""The ways to compare two planned arms, each with its power as a function.

Legend: δ the true difference, ψ the share of examples on which two single runs disagree (for
graded scores the variance of their difference on one example), n examples, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

from luthier.stats.power_proportions import compute_mcnemar_power, compute_two_proportion_power
from luthier.stats.power_question import PowerQuestion
from luthier.stats.power_scores import compute_t_power
from luthier.stats.power_seeds import compute_crossed_power

PowerOf = Callable[[float, int, float], float]
"""Power at a difference, with n examples, at α."""

ASSUMED_CORRELATIONS = (0.5, 0.8)
CORRELATION_SOURCE = (
    "fine-tuned runs of one model may correlate 0.5 to 0.8 over the examples; unpaired is 0"
)
ASSUMED_RUN_SHARE = 0.5
"""Share of two arms' disagreement that two seeds of one arm have between them as well."""

ASSUMED_SEED_SPREAD = 0.01
ASSUMED_SEED_SPREAD_GRADED = 0.03
"""Standard deviation between seeds beyond the noise of the examples; graded: in sd of a score."""


class Stated(NamedTuple):
    """A number that the power rests on, and what it rests on itself."""

    value: float
    basis: Literal["given", "computed", "assumed"]
    source: str = ""


class Way(NamedTuple):
    """One way to compare.

    Attributes:
        name: `unpaired` or `paired`.
        test: the test that `luthier compare` takes.
        correlation: of the two arms' scores over the examples; None where unpaired.
        disagreement: share of examples that they disagree on where neither is better (yes/no).
        power_of: power at a difference, with n examples, at α.
        largest: largest difference that there can be, upwards.
    """

    name: Literal["unpaired", "paired"]
    test: str
    correlation: Stated | None
    disagreement: Stated | None
    power_of: PowerOf
    largest: float


def list_ways(question: PowerQuestion) -> tuple[Way, ...]:
    """The unpaired way, and the paired one at the correlation given, or at two assumed ones."""
    if question.disagreement is not None:
        given = Stated(question.disagreement, "given")
        return (_unpaired(question), _at_disagreement(question, given))
    if question.correlation is not None:
        return (
            _unpaired(question),
            _at_correlation(question, Stated(question.correlation, "given")),
        )
    assumed = [Stated(value, "assumed", CORRELATION_SOURCE) for value in ASSUMED_CORRELATIONS]
    return (_unpaired(question), *(_at_correlation(question, value) for value in assumed))


def find_seed_spread(question: PowerQuestion) -> Stated | None:
    """Standard deviation of an arm's score from seed to seed, its noise on n examples included."""
    if question.seeds < 2:
        return None
    if question.seed_sd is not None:
        return Stated(question.seed_sd, "given")
    noise = _run_noise(question, _disagreement_at(question, ASSUMED_CORRELATIONS[0], 0.0))
    spread = math.sqrt(_assumed_spread(question) ** 2 + noise / (2 * question.n))
    points = "1 point" if question.is_yes_no else "3% of an example's sd"
    return Stated(spread, "assumed", f"{points} beyond the noise of {question.n:,} examples")


def _unpaired(question: PowerQuestion) -> Way:
    test = "two-proportion z" if question.is_yes_no else "two-sample t"
    if question.seeds > 1:
        noise = _disagreement_at(question, ASSUMED_CORRELATIONS[0], 0.0)
        power_of = partial(_crossed, question, partial(_independent_variance, question), noise)
        test = "crossed t"
    elif question.is_yes_no:

        def power_of(difference: float, n: int, alpha: float) -> float:
            return compute_two_proportion_power(
                question.rate, _bounded(question.rate + difference), n, alpha
            )
    else:

        def power_of(difference: float, n: int, alpha: float) -> float:
            error = math.sqrt(_independent_variance(question, difference) / n)
            return compute_t_power(difference, error, 2 * n - 2, alpha)

    return Way("unpaired", test, None, None, power_of, _largest(question))


def _at_correlation(question: PowerQuestion, correlation: Stated) -> Way:
    disagreement_at = partial(_disagreement_at, question, correlation.value)
    shown = None
    if question.is_yes_no:
        basis = "computed" if correlation.basis == "given" else correlation.basis
        shown = Stated(disagreement_at(0.0), basis, f"correlation {correlation.value:g}")
    return _paired(question, disagreement_at, correlation, shown, _largest(question))


def _at_disagreement(question: PowerQuestion, disagreement: Stated) -> Way:
    share = disagreement.value
    # What an arm gains are examples that the baseline has wrong: (ψ + δ)/2 ≤ 1 − rate.
    largest = min(share, 2 * (1 - question.rate) - share)
    return _paired(question, lambda difference: share, None, disagreement, largest)


def _paired(
    question: PowerQuestion,
    disagreement_at: Callable[[float], float],
    correlation: Stated | None,
    disagreement: Stated | None,
    largest: float,
) -> Way:
    def variance_at(difference: float) -> float:
        square = difference * difference if question.is_yes_no else 0.0
        return max(0.0, disagreement_at(difference) - square)

    def power_of(difference: float, n: int, alpha: float) -> float:
        if question.seeds > 1:
            return _crossed(question, variance_at, disagreement_at(0.0), difference, n, alpha)
        if question.is_yes_no:
            return compute_mcnemar_power(disagreement_at(difference), difference, n, alpha)
        error = math.sqrt(variance_at(difference) / n)
        return compute_t_power(difference, error, n - 1, alpha)

    one_seed = "exact McNemar" if question.is_yes_no else "sign-flip permutation"
    test = "crossed t" if question.seeds > 1 else one_seed
    return Way("paired", test, correlation, disagreement, power_of, largest)


def _crossed(
    question: PowerQuestion,
    variance_at: Callable[[float], float],
    disagreement: float,
    difference: float,
    n: int,
    alpha: float,
) -> float:
    """Several seeds: the noise of single runs averages out, what the arms differ in does not."""
    noise = _run_noise(question, disagreement)
    if question.seed_sd is None:
        spread_square = _assumed_spread(question) ** 2
    else:
        spread_square = max(0.0, question.seed_sd**2 - noise / (2 * question.n))
    example_variance = max(0.0, variance_at(difference) - noise) / n
    seed_variance = 2 * (spread_square + noise / (2 * n)) / question.seeds
    freedom = 2 * (question.seeds - 1)
    return compute_crossed_power(
        difference, example_variance, max(1, n - 1), seed_variance, freedom, alpha
    )


def _run_noise(question: PowerQuestion, disagreement: float) -> float:
    """What two seeds of one arm disagree on; no more than the given spread of seeds allows."""
    noise = ASSUMED_RUN_SHARE * disagreement
    if question.seed_sd is None:
        return noise
    return min(noise, 2 * question.n * question.seed_sd**2)


def _assumed_spread(question: PowerQuestion) -> float:
    if question.sd is None:
        return ASSUMED_SEED_SPREAD
    return ASSUMED_SEED_SPREAD_GRADED * question.sd


def _disagreement_at(question: PowerQuestion, correlation: float, difference: float) -> float:
    """ψ of two arms that correlate so; at least |δ| and at most what the rates allow (yes/no)."""
    if question.sd is not None:
        return 2 * question.sd**2 * (1 - correlation)
    rate, other = question.rate, _bounded(question.rate + difference)
    independent = rate * (1 - other) + other * (1 - rate)
    spread = math.sqrt(rate * (1 - rate) * other * (1 - other))
    most = min(rate + other, 2 - rate - other)
    return min(most, max(abs(difference), independent - 2 * correlation * spread))


def _independent_variance(question: PowerQuestion, difference: float) -> float:
    if question.sd is not None:
        return 2 * question.sd**2
    rate, other = question.rate, _bounded(question.rate + difference)
    return rate * (1 - rate) + other * (1 - other)


def _largest(question: PowerQuestion) -> float:
    if question.sd is None:
        return 1 - question.rate
    return 1e3 * question.sd


def _bounded(rate: float) -> float:
    return min(1.0, max(0.0, rate))
