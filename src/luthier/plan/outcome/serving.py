"""What a trained model's answers cost, served by oneself, against a priced API."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from luthier.errors import PlanError
from luthier.plan.figure import Figure, weakest
from luthier.recipe.plan_section import ServingSection

ANSWERS = 1000


class MonthRow(NamedTuple):
    """One number of answers a month.

    Attributes:
        answers: how many.
        own_usd: cost of serving them oneself.
        api_usd: price of buying them.
        saved_usd: the difference; negative where buying is cheaper.
        months_to_break_even: months until the savings have paid the training; None where they
            never do, or the training's cost is unknown.
    """

    answers: int
    own_usd: float
    api_usd: float
    saved_usd: float
    months_to_break_even: float | None


class Serving(NamedTuple):
    """Self-hosted answers against bought ones.

    Attributes:
        usd_per_answer: of the model served by oneself.
        usd_per_thousand: the same for 1,000 answers.
        api_usd_per_answer: of a bought answer; None where no price is given.
        times_cheaper: how many own answers one bought answer pays for; None without a price, or
            where an own answer costs nothing.
        break_even_answers: the smallest number of answers whose savings pay the training; None
            where buying is not dearer, or a price or the training's cost is unknown.
        months: a row for each number of answers a month; empty without a price.
    """

    usd_per_answer: Figure
    usd_per_thousand: Figure
    api_usd_per_answer: Figure | None
    times_cheaper: float | None
    break_even_answers: int | None
    months: tuple[MonthRow, ...]


def usd_per_answer(usd_per_hour: float, answers_per_hour: float) -> float:
    """Cost of one answer on a machine that is busy all the time: $/hour ÷ answers/hour.

    A machine that waits half the time costs twice as much an answer.
    """
    if not answers_per_hour > 0:
        raise ValueError(f"`answers_per_hour` is {answers_per_hour}; it must be above 0.")
    return usd_per_hour / answers_per_hour


def break_even_answers(
    training_usd: float, own_usd_per_answer: float, api_usd_per_answer: float
) -> int | None:
    """Training cost ÷ saving per answer, rounded up; None where buying is not dearer."""
    saving = api_usd_per_answer - own_usd_per_answer
    if saving <= 0:
        return None
    exact = training_usd / saving
    # 5 ÷ (0.5 − 0.0) is 10 answers, also where floating point makes it 10.000000000000002.
    nearest = round(exact)
    return nearest if math.isclose(exact, nearest, rel_tol=1e-9) else math.ceil(exact)


def compare_serving(section: ServingSection, training_usd: Figure | None = None) -> Serving:
    """Cost per answer and per 1,000, monthly savings and the break-even point.

    Args:
        section: prices, as the study's `plan.serving` or the user states them.
        training_usd: what the training costs.

    Raises:
        PlanError: no cost of an own answer can be told.
    """
    own = _own_cost(section)
    thousand = Figure(ANSWERS * own.value, weakest(own), "1,000 answers")
    api = section.api_usd_per_answer
    if api is None:
        return Serving(own, thousand, None, None, None, ())
    paid = None if training_usd is None else training_usd.value
    return Serving(
        usd_per_answer=own,
        usd_per_thousand=thousand,
        api_usd_per_answer=Figure(api, "given", "`plan.serving`"),
        times_cheaper=api / own.value if own.value > 0 else None,
        break_even_answers=None if paid is None else break_even_answers(paid, own.value, api),
        months=_months(section.answers_per_month, own.value, api, paid),
    )


def _own_cost(section: ServingSection) -> Figure:
    if section.usd_per_answer is not None:
        return Figure(section.usd_per_answer, "given", "`plan.serving`")
    if section.usd_per_hour is None or section.answers_per_hour is None:
        raise PlanError(
            "What an own answer costs is not known. Write `plan.serving.usd_per_answer`, or "
            "`usd_per_hour` with `answers_per_hour`."
        )
    cost = usd_per_answer(section.usd_per_hour, section.answers_per_hour)
    return Figure(cost, "computed", "price of an hour ÷ answers in an hour")


def _months(
    amounts: Sequence[int], own: float, api: float, training_usd: float | None
) -> tuple[MonthRow, ...]:
    rows: list[MonthRow] = []
    for answers in amounts:
        saved = answers * (api - own)
        months = training_usd / saved if training_usd is not None and saved > 0 else None
        rows.append(MonthRow(answers, answers * own, answers * api, saved, months))
    return tuple(rows)


def render_serving(serving: Serving) -> str:
    """The comparison in at most 80 columns, as plain text."""
    own = serving.usd_per_answer
    lines = [
        f"own answer      {_usd(own.value)} ({own.basis}), "
        f"{_usd(serving.usd_per_thousand.value)} for 1,000"
    ]
    if serving.api_usd_per_answer is None:
        return "\n".join([*lines, "bought answer   no price given"])
    times = serving.times_cheaper
    dearer = f", {times:,.0f} times an own one" if times is not None and times >= 2 else ""
    lines.append(f"bought answer   {_usd(serving.api_usd_per_answer.value)} (given){dearer}")
    if serving.break_even_answers is not None:
        after = f"after {serving.break_even_answers:,} answers"
        lines.append(f"break-even      {after}: the dearest run's training")
    if serving.months:
        lines += ["", f"{'answers a month':>15} {'own':>12} {'bought':>12} {'saved':>12}"]
        lines += [
            f"{row.answers:>15,} {_usd(row.own_usd):>12} {_usd(row.api_usd):>12} "
            f"{_usd(row.saved_usd):>12}"
            for row in serving.months
        ]
    return "\n".join(lines)


def _usd(value: float) -> str:
    """Whole dollars from 1,000 on, cents from 10 cents on, below that three digits."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    if size >= 1000:
        return f"{sign}${size:,.0f}"
    if size >= 0.1 or size == 0:
        return f"{sign}${size:.2f}"
    return f"{sign}${size:.3g}"
