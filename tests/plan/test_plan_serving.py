"""Own answers against bought ones, with numbers that can be worked out by hand."""

from __future__ import annotations

import pytest

from luthier.errors import PlanError
from luthier.plan.figure import Figure
from luthier.plan.outcome.serving import (
    break_even_answers,
    compare_serving,
    render_serving,
    usd_per_answer,
)
from luthier.recipe.plan_section import ServingSection

TRAINING = Figure(50, "computed", "hours × price")


def section(**values: object) -> ServingSection:
    return ServingSection.model_validate(values)


def test_an_answer_costs_the_hour_over_its_answers():
    assert usd_per_answer(4, 8000) == 0.0005


def test_a_thousand_answers_cost_a_thousand_times_one():
    serving = compare_serving(section(usd_per_hour=4, answers_per_hour=8000))
    assert serving.usd_per_thousand.value == 0.5
    assert serving.usd_per_answer.basis == "computed"
    assert compare_serving(section(usd_per_answer=0.1)).usd_per_answer.basis == "given"


def test_savings_are_answers_times_the_difference_and_pay_the_training_in_months():
    given = section(usd_per_answer=0.1, api_usd_per_answer=0.6, answers_per_month=[10, 1000])
    first, second = compare_serving(given, TRAINING).months
    assert (first.own_usd, first.api_usd, first.saved_usd) == (1, 6, 5)
    assert (first.months_to_break_even, second.months_to_break_even) == (10, 0.1)


def test_the_break_even_is_the_first_answer_that_has_paid_it_back():
    # 50 dollars at half a dollar saved: the hundredth answer; a cent more needs another one.
    assert break_even_answers(50, 0.1, 0.6) == 100
    assert break_even_answers(50.01, 0.1, 0.6) == 101
    assert break_even_answers(0, 0.1, 0.6) == 0


@pytest.mark.parametrize("api", [0.1, 0.05])
def test_where_buying_is_not_dearer_nothing_breaks_even(api: float):
    given = section(usd_per_answer=0.1, api_usd_per_answer=api, answers_per_month=10)
    serving = compare_serving(given, TRAINING)
    assert serving.break_even_answers is None
    assert serving.months[0].months_to_break_even is None
    assert serving.months[0].saved_usd <= 0


def test_without_a_price_to_compare_with_there_is_nothing_but_the_own_cost():
    serving = compare_serving(section(usd_per_answer=0.1, answers_per_month=10), TRAINING)
    assert serving[2:] == (None, None, None, ())


def test_without_the_training_s_cost_no_break_even_is_made_up():
    given = section(usd_per_answer=0.1, api_usd_per_answer=0.6, answers_per_month=10)
    serving = compare_serving(given)
    assert serving.break_even_answers is None
    assert serving.months[0].months_to_break_even is None


def test_an_unknown_own_cost_names_the_keys_that_supply_it():
    with pytest.raises(PlanError, match=r"Write `plan[.]serving[.]usd_per_answer`"):
        compare_serving(section(api_usd_per_answer=0.5))


def test_the_table_fits_on_80_columns_and_rounds_to_cents():
    given = section(
        usd_per_answer=0.0008, api_usd_per_answer=0.5, answers_per_month=[100, 10_000_000]
    )
    text = render_serving(compare_serving(given, TRAINING))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "$0.0008 (given), $0.80 for 1,000" in text
    assert "625 times an own one" in text
    assert "after 101 answers" in text
    assert text.splitlines()[-1].split() == ["10,000,000", "$8,000", "$5,000,000", "$4,992,000"]
