"""Elle rows: deterministic, consistent, and hidden where asked."""

import json
import math
import re
from typing import Any

import pytest

from luthier.data.elle import elle_example, generate_elle
from luthier.data.elle.framework import PHASE_TABLE
from luthier.data.elle.world import COUNTRIES, REQUIRED_KEYS, RISK_CATEGORIES, RISK_RANGES
from luthier.errors import DataError

STYLES = ["compact", "full"]


def rows(level: str = "cic", style: str = "compact", count: int = 200, **more: Any) -> list[Any]:
    return list(generate_elle(level, style, count, more.pop("seed", 5), **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("level", ["basic", "cic"])
def test_a_longer_file_begins_with_the_shorter_one(level: str, style: str) -> None:
    assert rows(level, style, 20)[:5] == rows(level, style, 5)


def test_another_seed_gives_other_rows_and_ids() -> None:
    first, second = rows(seed=1), rows(seed=2)
    assert not {row["id"] for row in first} & {row["id"] for row in second}
    prompts = [row["messages"][1]["content"] for row in first + second]
    assert len(set(prompts)) == len(prompts)


def test_hiding_values_changes_the_prompt_alone() -> None:
    for style in STYLES:
        for shown, hidden in zip(
            rows(style=style), rows(style=style, hide_values=True), strict=True
        ):
            assert shown["truth"] == hidden["truth"]
            assert shown["messages"][2] == hidden["messages"][2]
            assert shown["messages"][1] != hidden["messages"][1]


def test_shown_values_stand_in_the_prompt_and_hidden_ones_do_not() -> None:
    pattern = r"phi {phi:.2f}, H {entropy:.2f}, C {causality:.2f}, F {functional:.2f}"
    for row in rows():
        assert pattern.format(**row["truth"]) in row["messages"][1]["content"]
    for row in rows(hide_values=True):
        assert not re.search(r"\b(phi|H|C|F) -?\d", row["messages"][1]["content"])


def test_hidden_values_follow_from_the_prompt_by_the_documented_formulas() -> None:
    for row in rows(hide_values=True):
        found = re.search(
            r"links ([\d. ]+); signals ([\d ]+); hits ([\d ]+);", row["messages"][1]["content"]
        )
        assert found is not None
        links, signals, hits = ([float(n) for n in part.split()] for part in found.groups())
        shares = [count / 12 for count in signals if count]
        truth = row["truth"]
        assert truth["phi"] == pytest.approx(sum(links) / 4, abs=0.00501)
        entropy = -sum(share * math.log2(share) for share in shares) / 2
        assert truth["entropy"] == pytest.approx(entropy, abs=0.00501)
        assert truth["causality"] == pytest.approx(sum(hits) / 30, abs=0.00501)


def test_the_truth_obeys_the_formulas() -> None:
    for truth in (row["truth"] for row in rows()):
        functional = truth["phi"] - 0.3 * truth["entropy"] + 0.25 * truth["causality"]
        assert truth["functional"] == pytest.approx(functional, abs=0.00501)
        assert 0 <= truth["confidence"] <= truth["confidence_bound"] <= 0.95
        bound = 0.95 * math.exp(-0.1 * truth["months"])
        assert truth["confidence_bound"] == pytest.approx(bound, abs=0.0001)


def test_risks_keep_to_the_countries_profiles() -> None:
    for truth in (row["truth"] for row in rows()):
        for code, risk in truth["nations"].items():
            low, high = RISK_RANGES[COUNTRIES[code]]
            assert low <= risk <= high


def test_values_phases_countries_and_events_are_spread_wide() -> None:
    truths = [row["truth"] for row in rows(count=1000)]
    assert {code for truth in truths for code in truth["nations"]} == set(COUNTRIES)
    assert len({truth["event"] for truth in truths}) == 5
    for phase in PHASE_TABLE:
        assert sum(truth["phase"] == phase for truth in truths) > 150
    for name in ("phi", "entropy", "causality"):
        values = sorted(truth[name] for truth in truths)
        assert values[100] < 0.35, name
        assert values[900] > 0.7, name


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("level", ["basic", "cic"])
def test_an_answer_is_flat_json_with_the_required_keys_and_true_figures(
    level: str, style: str
) -> None:
    for row in rows(level, style, 50):
        answer = json.loads(row["messages"][2]["content"])
        assert set(REQUIRED_KEYS) <= set(answer)
        assert all(isinstance(value, (str, int, float)) for value in answer.values())
        for name in set(answer) & set(row["truth"]):
            assert answer[name] == row["truth"][name], name


@pytest.mark.parametrize("level", ["basic", "cic"])
def test_full_answers_hold_all_eight_categories(level: str) -> None:
    answer = json.loads(rows(level, "full", 1)[0]["messages"][2]["content"])
    assert list(answer)[:8] == [*RISK_CATEGORIES, "summary", "nsm"]
    nested = {"cic_assessment", "phase_assessment", "confidence_bounds", "historical_parallel"}
    assert (nested <= set(answer)) == (level == "cic")


def test_compact_rows_are_short() -> None:
    assert max(sum(len(m["content"]) for m in row["messages"]) for row in rows()) < 620


def test_an_example_trains_the_answer_alone() -> None:
    row = rows(count=1)[0]
    example = elle_example(row, where="elle.jsonl:1")
    assert [message.train for message in example.messages] == [False, False, True]
    assert (example.id, example.truth, example.where) == (row["id"], row["truth"], "elle.jsonl:1")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("expert", "compact", 1, 0), "basic or cic"),
        (("cic", "long", 1, 0), "compact or full"),
        (("cic", "full", 0, 0), "at least 1"),
        (("basic", "full", 1, 0, True), "no values to hide"),
    ],
)
def test_a_wrong_request_is_refused_at_once(arguments: Any, part: str) -> None:
    with pytest.raises(DataError, match=part):
        generate_elle(*arguments)
