"""Elle pairs: the chosen briefing is right, the rejected one is wrong in the way it names."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from luthier import api
from luthier.data.elle import elle_example, generate_elle
from luthier.data.elle.preferences import FAILURES, generate_preferences
from luthier.data.elle.world import REQUIRED_KEYS
from luthier.data.formats import reader_of
from luthier.data.load import load_examples
from luthier.data.rows import Row
from luthier.errors import DataError
from luthier.evaluate.tasks.elle_score import CIC_VALUES, score_elle
from luthier.recipe.dataset import DatasetSource

TELLINGS = [("basic", "compact"), ("basic", "full"), ("cic", "compact"), ("cic", "full")]
CIC_ONLY = {"wrong formula result", "confidence above 0.95", "wrong phase"}
MEANS = {"cic_accuracy", "format", "overall"}


def elle(count: int, level: Any = "cic", style: Any = "compact", **options: Any) -> list[Any]:
    rows = generate_elle(level, style, count, 5, **options)
    return [elle_example(row) for row in rows]


def pairs(count: int, **told: Any) -> list[dict[Any, Any]]:
    return list(generate_preferences(elle(count, **told), count, 1))


def answer(row: dict[str, Any], side: str) -> str:
    (turn,) = row[side]
    assert turn["role"] == "assistant"
    return turn["content"]


def lost(row: dict[str, Any]) -> set[str]:
    """The scores that the rejected answer does not get in full, without the means."""
    scores = score_elle(answer(row, "rejected"), row["truth"])
    return {name for name, score in scores.items() if score < 1} - MEANS


@pytest.mark.parametrize(("level", "style"), TELLINGS)
def test_the_chosen_answer_scores_full_marks(level: str, style: str) -> None:
    for row in pairs(30, level=level, style=style):
        scores = score_elle(answer(row, "chosen"), row["truth"])
        assert scores == pytest.approx(dict.fromkeys(scores, 1.0))


@pytest.mark.parametrize(("level", "style"), TELLINGS)
def test_the_rejected_answer_loses_the_scores_of_its_failure_and_no_other(
    level: str, style: str
) -> None:
    for row in pairs(120, level=level, style=style):
        found, rejected = lost(row), answer(row, "rejected")
        match row["failure"]:
            case "malformed JSON":
                continue  # nothing of it can be scored; its own test follows
            case "missing key":
                assert found == {"required_keys"}
            case "wrong formula result":
                (figure,) = found
                assert figure in CIC_VALUES
                assert score_elle(rejected, row["truth"])[figure] == 0
            case "confidence above 0.95":
                assert found == {"confidence"}
                assert 0.95 < json.loads(rejected)["confidence"] <= 1
            case "text around the JSON":
                assert found == {"json_valid", "nothing_around"}
                assert answer(row, "chosen") in rejected
            case failure:
                assert failure == "wrong phase"
                assert found == {"phase"}


@pytest.mark.parametrize(("level", "style"), TELLINGS)
def test_malformed_json_is_the_right_answer_but_for_one_character(level: str, style: str) -> None:
    broken = [r for r in pairs(120, level=level, style=style) if r["failure"] == "malformed JSON"]
    assert len(broken) >= 20
    for row in broken:
        right, wrong = answer(row, "chosen"), answer(row, "rejected")
        longer, shorter = sorted((right, wrong), key=len, reverse=True)
        dropped = (longer[:at] + longer[at + 1 :] for at in range(len(longer)))
        assert shorter in dropped
        assert score_elle(wrong, row["truth"])["overall"] == 0


def test_only_what_the_failure_names_is_changed() -> None:
    changed: dict[str, set[str]] = {}
    for row in pairs(120, style="full"):
        if row["failure"] in ("malformed JSON", "text around the JSON"):
            continue
        right, wrong = (json.loads(answer(row, side)) for side in ("chosen", "rejected"))
        keys = {key for key in right if wrong.get(key) != right[key]}
        changed[row["failure"]] = changed.get(row["failure"], set()) | keys
        assert list(wrong) == [key for key in right if key in wrong]
    assert changed == {
        "missing key": set(REQUIRED_KEYS),
        "wrong formula result": {*CIC_VALUES, "cic_assessment"},
        "confidence above 0.95": {"confidence", "confidence_bounds"},
        "wrong phase": {"phase", "phase_assessment"},
    }


def test_the_full_tellings_prose_says_what_the_wrong_figure_says() -> None:
    for row in pairs(120, style="full"):
        wrong = json.loads(answer(row, "rejected")) if not lost(row) & {"json_valid"} else {}
        if row["failure"] == "wrong formula result":
            phi, entropy, causality = (f"{wrong[name]:.2f}" for name in CIC_VALUES)
            assert wrong["cic_assessment"] == (
                f"Integration is {phi}, entropy {entropy} and causal power {causality}. The "
                f"functional is {phi} - 0.3 x {entropy} + 0.25 x {causality} = "
                f"{wrong['functional']:.2f}."
            )
        elif row["failure"] == "confidence above 0.95":
            assert wrong["confidence_bounds"].endswith(f"is {wrong['confidence']:.2f}.")
        elif row["failure"] == "wrong phase":
            assert wrong["phase_assessment"].startswith(f"The system is {wrong['phase']}: ")


def test_all_ways_come_equally_often_and_only_where_they_can_show() -> None:
    assert Counter(row["failure"] for row in pairs(60)) == dict.fromkeys(FAILURES, 10)
    basic = Counter(row["failure"] for row in pairs(60, level="basic"))
    assert basic == dict.fromkeys(FAILURES.keys() - CIC_ONLY, 20)


def test_pairs_depend_on_the_seed_and_a_longer_file_begins_with_the_shorter() -> None:
    rows = elle(20)
    first = list(generate_preferences(rows, 40, 1))
    assert list(generate_preferences(rows, 15, 1)) == first[:15]
    assert list(generate_preferences(rows, 40, 2)) != first


def test_no_pair_comes_twice_and_more_than_there_are_is_refused() -> None:
    rows = elle(3)
    every = list(generate_preferences(rows, 18, 0))
    assert len({row["id"] for row in every}) == 18
    assert Counter(row["failure"] for row in every) == dict.fromkeys(FAILURES, 3)
    with pytest.raises(DataError, match="3 rows can show 18 failures in all, fewer than the 19"):
        generate_preferences(rows, 19, 0)


def test_hidden_values_do_not_matter() -> None:
    rows = list(generate_preferences(elle(12, hide_values=True), 12, 0))
    assert {row["failure"] for row in rows} == set(FAILURES)


def test_rows_are_read_back_as_pairs() -> None:
    source = DatasetSource(path="p.jsonl", type="preference")
    for number, row in enumerate(pairs(12), start=1):
        example = reader_of(source)(Row(f"p.jsonl:{number}", row), source)
        assert [turn.role for turn in example.messages] == ["system", "user", "assistant"]
        assert example.messages[-1].content == answer(row, "chosen")
        assert example.rejected is not None
        assert example.rejected.content == answer(row, "rejected")
        assert example.truth == row["truth"]


def test_rows_of_another_kind_are_refused_by_name() -> None:
    source = DatasetSource(path="a.jsonl")
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    for truth in ({}, {"truth": {"level": "basic"}}):
        fields: dict[Any, Any] = {"messages": messages, **truth}
        row = Row("a.jsonl:3", fields)
        with pytest.raises(DataError, match=r"a\.jsonl:3: .* `luthier data elle` wrote"):
            generate_preferences([reader_of(source)(row, source)], 1, 0)


def test_a_file_of_pairs_is_written_one_for_each_row(tmp_path: Path) -> None:
    rows, out = tmp_path / "elle.jsonl", tmp_path / "pairs.jsonl"
    api.write_elle(rows, level="cic", style="compact", count=12, seed=3)
    assert api.write_preferences(out, rows=rows, seed=1) == dict.fromkeys(FAILURES, 2)
    first = out.read_text(encoding="utf-8")
    assert len(load_examples(DatasetSource(path=str(out), type="preference")).examples) == 12
    api.write_preferences(out, rows=rows, count=12, seed=1)
    assert out.read_text(encoding="utf-8") == first
