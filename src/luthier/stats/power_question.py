"""What `luthier power` is asked, checked: each refusal names the flag."""

from __future__ import annotations

import math
from dataclasses import dataclass

from luthier.errors import PlanError


@dataclass(frozen=True)
class PowerQuestion:
    """A planned comparison.

    Attributes:
        n: examples that every arm answers.
        rate: expected share of right answers of the baseline; with `sd` its expected mean score.
        difference: wanted difference, arm − baseline.
        seeds: runs of every arm.
        arms: rows that are compared, the baseline among them.
        disagreement: share of the examples that exactly one of two arms has right.
        correlation: of two arms' scores over the examples.
        sd: standard deviation of one example's score; None for yes/no.
        seed_sd: standard deviation of an arm's score from seed to seed, on these n examples.
        alpha: chance of a false claim in the whole table.
        power: chance of finding a difference that is there.
    """

    n: int
    rate: float
    difference: float | None = None
    seeds: int = 1
    arms: int = 2
    disagreement: float | None = None
    correlation: float | None = None
    sd: float | None = None
    seed_sd: float | None = None
    alpha: float = 0.05
    power: float = 0.8

    @property
    def comparisons(self) -> int:
        """Arms beside the baseline: what Holm corrects for."""
        return max(1, self.arms - 1)

    @property
    def is_yes_no(self) -> bool:
        return self.sd is None


def check_question(question: PowerQuestion) -> None:
    """Refuse what no evaluation can be.

    Raises:
        PlanError: a value out of range, or two that contradict each other; names the flag.
    """
    _check_counts(question)
    _check_shares(question)
    if question.is_yes_no:
        _check_yes_no(question)
    else:
        _check_graded(question)


def _check_counts(question: PowerQuestion) -> None:
    for flag, value, least in (
        ("--n", question.n, 2),
        ("--seeds", question.seeds, 1),
        ("--arms", question.arms, 2),
    ):
        if value < least:
            mend = " The baseline counts as one." if flag == "--arms" else ""
            raise PlanError(f"{flag} is {value}: give {least} or more.{mend}")


def _check_shares(question: PowerQuestion) -> None:
    for flag, value, example in (
        ("--alpha", question.alpha, "0.05"),
        ("--power", question.power, "0.8"),
    ):
        if not 0 < value < 1:
            raise PlanError(
                f"{flag} is {value:g}: give a value between 0 and 1, such as {example}."
            )
    if question.power <= question.alpha:
        raise PlanError(
            f"--power {question.power:g} is no more than --alpha {question.alpha:g}: chance alone "
            "reaches it. Give a larger --power, such as 0.8."
        )
    if question.disagreement is not None and question.correlation is not None:
        raise PlanError("--disagreement and --correlation say the same thing twice: give one.")
    if question.correlation is not None and not -1 < question.correlation < 1:
        raise PlanError(
            f"--correlation is {question.correlation:g}: give a value between −1 and 1, such as "
            "0.5."
        )
    for flag, value in (("--sd", question.sd), ("--seed-sd", question.seed_sd)):
        if value is not None and not (value >= 0 and math.isfinite(value)):
            raise PlanError(f"{flag} is {value:g}: a standard deviation is 0 or more.")
    if question.difference is not None and not (
        question.difference != 0 and math.isfinite(question.difference)
    ):
        raise PlanError("--difference must be a number other than 0, such as 0.01 for one point.")


def _check_yes_no(question: PowerQuestion) -> None:
    rate, wanted, differing = question.rate, question.difference, question.disagreement
    if not 0 <= rate <= 1:
        percent = f" For {rate:g}% write {rate / 100:g}." if 1 < rate <= 100 else ""
        raise PlanError(f"--rate is {rate:g}: a share lies between 0 and 1.{percent}")
    if wanted is not None and not 0 <= rate + wanted <= 1:
        percent = f" For {wanted:g} points write {wanted / 100:g}." if abs(wanted) > 1 else ""
        raise PlanError(
            f"--difference {wanted:g} takes --rate {rate:g} to {rate + wanted:g}: a share lies "
            f"between 0 and 1.{percent}"
        )
    if differing is None:
        return
    if not 0 < differing <= 1:
        raise PlanError(f"--disagreement is {differing:g}: give a share of the examples, 0 to 1.")
    if wanted is not None and abs(wanted) > differing:
        raise PlanError(
            f"--difference {wanted:g} is larger than --disagreement {differing:g}: arms differ by "
            "no more than they disagree."
        )
    other = rate + (wanted or 0.0)
    most = min(rate + other, 2 - rate - other)
    if differing > most + 1e-9:
        raise PlanError(
            f"--disagreement {differing:g} cannot be at --rate {rate:g}: two such arms disagree on "
            f"at most {most:g} of the examples."
        )


def _check_graded(question: PowerQuestion) -> None:
    if question.disagreement is not None:
        raise PlanError(
            "--disagreement is for yes/no answers. With --sd, give --correlation of two arms' "
            "scores."
        )
    if not math.isfinite(question.rate):
        raise PlanError(f"--rate is {question.rate}: give the expected mean score.")
