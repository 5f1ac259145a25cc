"""From a row to a preference pair: every shape, and every way a row can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.examples import Example
from luthier.data.formats import reader_of
from luthier.data.load import load_examples
from luthier.data.rows import Row
from luthier.errors import DataError
from luthier.recipe.dataset import DatasetSource

REAL = Path(__file__).parents[3] / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is absent")

USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Hello"}
BAD = {"role": "assistant", "content": "Go"}
TURN = [("user", "Hi", False), ("assistant", "Hello", True)]


def read(fields: dict[Any, Any], kind: str = "preference", **source: Any) -> Example:
    dataset = DatasetSource.model_validate({"path": "a.jsonl", "type": kind, **source})
    return reader_of(dataset)(Row("a.jsonl:7", fields), dataset)


def turns(example: Example) -> list[tuple[str, str, bool]]:
    return [(turn.role, turn.content, turn.train) for turn in example.messages]


def pair(fields: dict[Any, Any], kind: str = "preference", **source: Any) -> list[Any]:
    """The turns of the chosen conversation, then the rejected answer."""
    example = read(fields, kind, **source)
    assert example.rejected is not None
    assert (example.rejected.role, example.rejected.train) == ("assistant", True)
    return [*turns(example), example.rejected.content]


def refusal(fields: dict[Any, Any], kind: str = "preference", **source: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(fields, kind, **source)
    message = str(caught.value)
    assert message.startswith("a.jsonl:7: ")
    return message


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "Hi", "chosen": "Hello", "rejected": "Go"},
        {"prompt": "Hi", "chosen": GOOD, "rejected": BAD},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},  # TRL's conversational form
        {"prompt": "Hi", "chosen": [USER, GOOD], "rejected": [USER, BAD]},  # UltraFeedback
        {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},  # TRL's implicit prompt
        {"question": "Hi", "chosen": "Hello", "rejected": "Go"},
        {"instruction": "Hi", "chosen_response": "Hello", "rejected_response": "Go"},
        {"messages": [USER], "chosen": GOOD, "rejected": BAD},
        {"prompt": None, "input": "Hi", "chosen": "Hello", "rejected": "Go"},
        {
            "prompt": "Hi",
            "chosen": {"from": "gpt", "value": "Hello"},
            "rejected": {"from": "gpt", "value": "Go"},
        },
    ],
)
def test_texts_messages_and_conversations_read_alike(fields: dict[Any, Any]) -> None:
    assert pair(fields) == [*TURN, "Go"]


def test_fields_can_be_renamed() -> None:
    fields = {"q": "Hi", "good": "Hello", "bad": "Go", "prompt": "not this"}
    named = {"field_prompt": "q", "field_chosen": "good", "field_rejected": "bad"}
    assert pair(fields, **named) == [*TURN, "Go"]
    fields = {"a": [USER, GOOD], "b": [USER, BAD], "prompt": "Hi"}
    assert pair(fields, field_chosen="a", field_rejected="b") == [*TURN, "Go"]


def test_earlier_turns_are_the_prompt_and_carry_no_loss() -> None:
    before = [USER, GOOD, {"role": "user", "content": "More"}]
    read_turns = pair({"chosen": [*before, GOOD], "rejected": [*before, BAD]})
    assert read_turns == [
        ("user", "Hi", False),
        ("assistant", "Hello", False),
        ("user", "More", False),
        ("assistant", "Hello", True),
        "Go",
    ]


@pytest.mark.parametrize("kind", ["preference", "ranking"])
def test_a_system_column_comes_first(kind: str) -> None:
    column = {"prompt": "Hi"} if kind == "preference" else {"instruction": "Hi"}
    fields = {**column, "system": "Be kind", "chosen": "Hello", "rejected": "Go"}
    assert pair(fields, kind) == [("system", "Be kind", False), *TURN, "Go"]


def test_a_ranking_is_read_from_conversations_or_instructions() -> None:
    answers = {
        "chosen": {"from": "gpt", "value": "Hello"},
        "rejected": {"from": "gpt", "value": "Go"},
    }
    assert pair({"conversations": [{"from": "human", "value": "Hi"}], **answers}, "ranking") == [
        *TURN,
        "Go",
    ]
    texts = {"instruction": "Add", "input": "1, 2", "chosen": "3", "rejected": "4"}
    asked = ("user", "Add\n1, 2", False)
    assert pair(texts, "ranking") == [asked, ("assistant", "3", True), "4"]
    history = {**texts, "history": [["Hi", "Hello"]]}
    assert [turn[:2] for turn in pair(history, "ranking")[:2]] == [turn[:2] for turn in TURN]


def test_a_transcript_is_split_before_its_last_answer() -> None:
    start = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: One\n\ntwo: \n\nAssistant:"
    assert pair({"chosen": f"{start} Yes", "rejected": f"{start} No\n\nnever"}, "hh_rlhf") == [
        ("user", "Hi", False),
        ("assistant", "Hello", False),
        ("user", "One\n\ntwo:", False),
        ("assistant", "Yes", True),
        "No\n\nnever",
    ]


def test_a_speaker_who_goes_on_says_one_turn() -> None:
    start = "\n\nHuman: a\n\nHuman: b\n\nAssistant: c\n\nAssistant: d\n\nHuman: e\n\nAssistant: "
    read_turns = pair({"chosen": f"{start}f", "rejected": f"{start}g"}, "hh_rlhf")
    assert [turn[1] for turn in read_turns[:-1]] == ["a\n\nb", "c\n\nd", "e", "f"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": "Hi", "chosen": "Hello"}, "no column `rejected`"),
        ({"prompt": "Hi", "chosen": "Hello", "rejected": None}, "`rejected` is empty"),
        ({"prompt": "Hi", "chosen": " ", "rejected": "Go"}, "`chosen` is empty"),
        ({"prompt": "", "chosen": "Hello", "rejected": "Go"}, "`prompt` is empty"),
        ({"chosen": "Hello", "rejected": "Go"}, "no column `prompt`"),
        ({"prompt": "Hi", "chosen": "Hello", "rejected": "Hello "}, "are the same answer"),
        ({"prompt": "Hi", "chosen": [USER, GOOD], "rejected": [GOOD, BAD]}, "different prompts"),
        ({"prompt": "Hi", "chosen": [USER, GOOD], "rejected": [BAD]}, "different prompts"),
        ({"prompt": "Ho", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, "is not the prompt"),
        ({"chosen": [USER], "rejected": [USER]}, "ends with a turn of the user"),
        ({"prompt": [USER, GOOD], "chosen": "a", "rejected": "b"}, "must end with the user's"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "no column `prompt`"),
        (
            {"instruction": "a", "input": "b", "chosen": "c", "rejected": "d"},
            "Write `type: ranking` to join them",
        ),
    ],
)
def test_a_bad_pair_is_refused_by_file_and_line(fields: dict[Any, Any], said: str) -> None:
    assert said in refusal(fields)


@pytest.mark.parametrize(
    ("chosen", "rejected", "said"),
    [
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c", "", "`chosen` ends with a turn of the Human"),
        ("\n\nHuman: a\n\nAssistant: ", "", "turn 2 of `chosen` (Assistant) is empty"),
        ("Hello", "", "`chosen` is no transcript"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: b", "the same answer"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: z\n\nAssistant: c", "different prompts"),
        (
            "\n\nHuman: a\n\nAssistant: b",
            "\n\nHuman: a\n\nAssistant: c\n\nHuman: d\n\nAssistant: e",
            "different prompts",
        ),
    ],
)
def test_a_bad_transcript_is_refused_by_file_and_line(
    chosen: str, rejected: str, said: str
) -> None:
    fields = {"chosen": chosen, "rejected": rejected or "\n\nHuman: a\n\nAssistant: x"}
    assert said in refusal(fields, "hh_rlhf")


def test_bad_pairs_are_skipped_and_counted(tmp_path: Path) -> None:
    good = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go"}
    rows = [good, {**good, "rejected": ""}, {**good, "rejected": "Hello"}, good]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    loaded = load_examples(DatasetSource(path=str(path), type="preference"), skip_bad_rows=True)
    assert (len(loaded.examples), loaded.skipped) == (2, 2)
    assert [reason.split(": ")[0] for reason in loaded.reasons] == [f"{path}:2", f"{path}:3"]


@needs_real
def test_real_rankings_load_whole() -> None:
    demo = REAL / "llamafactory_demo"
    ranking = load_examples(DatasetSource(path=str(demo / "dpo_en_demo.json"), type="ranking"))
    assert len(ranking.examples) == 300
    whole = load_examples(
        DatasetSource(
            path=str(demo / "v1_dpo_demo.jsonl"),
            type="preference",
            field_chosen="chosen_messages",
            field_rejected="rejected_messages",
        )
    )
    assert [turn.role for turn in whole.examples[0].messages] == ["system", "user", "assistant"]
    assert len(whole.examples) == 10


@needs_real
def test_real_transcripts_load_but_for_four_empty_answers_and_five_other_prompts(
    tmp_path: Path,
) -> None:
    packed = REAL / "hh_rlhf_harmless_test" / "harmless-base_test.jsonl.gz"
    path = tmp_path / "hh.jsonl"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    loaded = load_examples(DatasetSource(path=str(path), type="hh_rlhf"), skip_bad_rows=True)
    assert (len(loaded.examples), loaded.skipped) == (2303, 9)
    for example in loaded.examples:
        roles = [turn.role for turn in example.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
