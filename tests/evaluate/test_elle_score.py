"""Elle scores by hand, and on any garbage."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from luthier.data.elle import generate_elle
from luthier.evaluate.tasks.elle_score import CIC_PARTS, METRIC_KINDS, score_elle

TRUTH = {
    "phi": 0.60,
    "entropy": 0.40,
    "causality": 0.50,
    "phase": "PLASMA",
    "confidence": 0.60,
    "confidence_bound": 0.7038,
    "months": 3,
}
BRIEFING: dict[str, Any] = {
    "political": "high pressure",
    "economic": "low stress",
    "security": "extreme threat",
    "summary": "UKR high",
    "nsm": "prepare security",
    "phi": 0.60,
    "entropy": 0.40,
    "causality": 0.50,
    "phase": "PLASMA",
    "confidence": 0.60,
}


def score(**changes: Any) -> dict[str, float]:
    return score_elle(json.dumps(BRIEFING | changes), TRUTH)


def test_a_right_briefing_scores_one_everywhere() -> None:
    assert score() == dict.fromkeys(METRIC_KINDS, 1.0)


@pytest.mark.parametrize(
    ("phi", "expected"),
    [(0.60, 1.0), (0.65, 0.5), (0.58, 0.8), (0.70, 0.0), (0.9, 0.0), (-5, 0.0), (1e308, 0.0)],
)
def test_an_error_of_a_tenth_loses_the_whole_value(phi: float, expected: float) -> None:
    scores = score(phi=phi)
    assert scores["phi"] == pytest.approx(expected, abs=1e-9)
    assert scores["cic_accuracy"] == pytest.approx((4 + expected) / 5)


@pytest.mark.parametrize("phi", ["0.60", True, None, [0.6], {"value": 0.6}])
def test_only_a_json_number_is_a_number(phi: Any) -> None:
    assert score(phi=phi)["phi"] == 0.0


def test_true_is_not_the_number_one() -> None:
    assert score_elle('{"phi": true}', TRUTH | {"phi": 1.0})["phi"] == 0.0


@pytest.mark.parametrize(
    ("phase", "expected"), [("PLASMA", 1.0), ("plasma", 0.0), ("PLASMA ", 0.0), (None, 0.0)]
)
def test_the_phase_counts_only_letter_by_letter(phase: Any, expected: float) -> None:
    assert score(phase=phase)["phase"] == expected


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0, 1.0), (0.70, 1.0), (0.71, 0.0), (0.96, 0.0), (-0.1, 0.0), ("0.5", 0.0)],
)
def test_confidence_may_be_cautious_but_not_above_its_decayed_bound(
    confidence: Any, expected: float
) -> None:
    # 0.95·e^(−0.3) = 0.7038
    assert score(confidence=confidence)["confidence"] == expected


def test_fresh_data_still_caps_confidence_at_095() -> None:
    truth = TRUTH | {"confidence_bound": 0.95}
    assert score_elle('{"confidence": 0.95}', truth)["confidence"] == 1.0
    assert score_elle('{"confidence": 0.96}', truth)["confidence"] == 0.0


def test_a_code_fence_costs_json_valid_and_a_quarter_of_format_only() -> None:
    scores = score_elle(f"```json\n{json.dumps(BRIEFING)}\n```", TRUTH)
    assert scores["json_valid"] == 0.0
    assert scores["cic_accuracy"] == 1.0
    assert scores["format"] == 0.75
    assert scores["overall"] == pytest.approx(0.50 + 0.35 * 0.75)


def test_white_space_around_is_nothing() -> None:
    assert score_elle(f"\n {json.dumps(BRIEFING)} \n", TRUTH)["overall"] == 1.0


def test_words_before_a_truncated_object_score_zero() -> None:
    scores = score_elle('Here it is: {"phi": 0.6, "phase": "PLA', TRUTH)
    assert set(scores.values()) == {0.0}


@pytest.mark.parametrize("nested", [{"a": 1}, [], ["x"]])
def test_a_nested_value_is_not_flat(nested: Any) -> None:
    scores = score(extra=nested)
    assert (scores["flat"], scores["format"]) == (0.0, 0.75)


def test_two_missing_keys_of_five_leave_three_fifths() -> None:
    scores = score(political="", nsm=7)
    assert scores["required_keys"] == pytest.approx(0.6)
    assert scores["format"] == pytest.approx((0.6 + 3) / 4)


@pytest.mark.parametrize(
    "text",
    [
        "Alarming!",
        "I think it is high",
        "Sorry, high",
        "**high**",
        "# High",
        "high 🔥",
        "it’s\n- a",
    ],
)
def test_chat_and_markdown_are_not_professional(text: str) -> None:
    assert score(summary=text)["tone"] == 0.0


@pytest.mark.parametrize(
    "text", ["World War I ended in 1918.", "at 5°C", "0.59 - 0.3 x 0.89 = 0.32", "Coolant, Myanmar"]
)
def test_numerals_signs_and_longer_words_stay_professional(text: str) -> None:
    assert score(summary=text)["tone"] == 1.0


def test_a_repeated_key_counts_as_absent_and_is_not_flat() -> None:
    body = json.dumps(BRIEFING)[:-1] + ', "phi": 0.60}'
    scores = score_elle(body, TRUTH)
    assert (scores["json_valid"], scores["phi"], scores["flat"]) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_not_json(constant: str) -> None:
    scores = score_elle(f'{{"phi": {constant}}}', TRUTH)
    assert scores["json_valid"] == 0.0
    assert scores["phi"] == 0.0


@pytest.mark.parametrize("number", ["1" * 10_000, "1e999", "-1e999"])
def test_a_huge_number_is_valid_json_and_a_wrong_value(number: str) -> None:
    scores = score_elle(f'{{"phi": {number}, "confidence": {number}}}', TRUTH)
    assert (scores["json_valid"], scores["phi"], scores["confidence"]) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("output", ["[1, 2]", "42", '"text"', "null", "[[]]"])
def test_json_without_an_object_is_valid_and_nothing_else(output: str) -> None:
    scores = score_elle(output, TRUTH)
    assert scores.pop("json_valid") == 1.0
    assert scores.pop("overall") == pytest.approx(0.15)
    assert set(scores.values()) == {0.0}


@pytest.mark.parametrize("output", ["", "   ", "{", "}", "[" * 200_000, '{"a":' * 200_000])
def test_broken_and_bottomless_outputs_score_zero(output: str) -> None:
    assert set(score_elle(output, TRUTH).values()) == {0.0}


def test_a_basic_briefing_has_no_cic_accuracy_and_rescaled_weights() -> None:
    text = {key: value for key, value in BRIEFING.items() if isinstance(value, str)}
    scores = score_elle(json.dumps(text), {"level": "basic"})
    assert scores["overall"] == 1.0
    assert not {*CIC_PARTS, "cic_accuracy"} & set(scores)
    fenced = score_elle(f"```{json.dumps(text)}```", {"level": "basic"})
    assert fenced["overall"] == pytest.approx((0.35 * 0.75) / 0.50)


@pytest.mark.parametrize("style", ["compact", "full"])
@pytest.mark.parametrize("level", ["basic", "cic"])
def test_every_generated_answer_scores_one(level: Any, style: Any) -> None:
    for row in generate_elle(level, style, 60, seed=3):
        scores = score_elle(row["messages"][2]["content"], row["truth"])
        assert set(scores.values()) == {1.0}, row["messages"][2]["content"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*BRIEFING, "x"]) | st.text(max_size=3), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | JSON.map(json.dumps) | JSON.map(lambda v: f"a {json.dumps(v)} b"))
@example('{"phi": "\\ud800"}')
@example("\ufeff{}")
@example('{"summary": "\x00"}')
def test_any_string_gets_every_score_between_zero_and_one(output: str) -> None:
    scores = score_elle(output, TRUTH)
    assert set(scores) == set(METRIC_KINDS)
    assert all(math.isfinite(value) and 0.0 <= value <= 1.0 for value in scores.values())
    assert scores["overall"] == pytest.approx(
        0.15 * scores["json_valid"] + 0.50 * scores["cic_accuracy"] + 0.35 * scores["format"]
    )
