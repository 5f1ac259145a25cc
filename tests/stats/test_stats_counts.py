from __future__ import annotations

import json

import pytest
from statsmodels.stats.proportion import proportions_ztest

from luthier.errors import ComparisonError
from luthier.stats import compare_counts, comparison_as_dict


def test_published_lora_against_full_is_no_detectable_difference():
    comparison = compare_counts("7254/7600", "7234/7600")
    (pair,) = comparison.pairs
    assert pair.p_value == pytest.approx(proportions_ztest([7254, 7234], [7600, 7600])[1])
    assert 0.40 < pair.p_value < 0.47
    assert pair.verdict == "no detectable difference"
    assert pair.difference == pytest.approx(-20 / 7600)
    assert pair.interval.low < 0 < pair.interval.high
    assert comparison.baseline == "7254/7600"


def test_a_clear_difference_is_worse_than_the_first():
    (pair,) = compare_counts("base=400/500", "arm=300/500").pairs
    assert (pair.arm, pair.baseline, pair.verdict) == ("arm", "base", "worse")


def test_holm_counts_every_arm():
    alone = compare_counts("400/500", "373/500").pairs[0]
    first, second = compare_counts("400/500", "373/500", "400/500").pairs
    assert alone.verdict == "worse"
    assert first.p_holm == pytest.approx(2 * alone.p_value)
    assert first.verdict == second.verdict == "no detectable difference"


def test_power_at_the_detectable_difference_is_eighty_percent():
    detectable = compare_counts("250/500", "250/500").pairs[0].detectable_difference
    # (1.960 + 0.842) · √(2 · 0.25 / 500)
    assert detectable == pytest.approx(0.0886, abs=1e-4)


def test_extreme_counts_stay_finite():
    for counts in (("0/5", "5/5"), ("5/5", "5/5"), ("0/1", "0/1")):
        json.dumps(comparison_as_dict(compare_counts(*counts)), allow_nan=False)


@pytest.mark.parametrize("bad", ["7254", "8/5", "-1/3", "5/0", "", "a/b", "1/2/3", "0.5/1"])
def test_what_is_no_count_is_refused_with_an_example(bad: str):
    with pytest.raises(ComparisonError):
        compare_counts("1/2", bad)


def test_one_count_is_no_comparison():
    with pytest.raises(ComparisonError, match="two counts"):
        compare_counts("1/2")
