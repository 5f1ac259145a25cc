"""From a row to an example: every format, and every way a row can be wrong."""

from typing import Any

import pytest

from luthier.data.columns import fill_template, has_header, rename_columns
from luthier.data.examples import Example
from luthier.data.formats import FORMATS, reader_of
from luthier.data.rows import Row
from luthier.errors import DataError
from luthier.recipe.dataset import DatasetSource

USER, ANSWER = ("user", "Hi", False), ("assistant", "Hello", True)


def read(fields: dict[Any, Any], **source: Any) -> Example:
    dataset = DatasetSource(path="a.jsonl", **source)
    row = rename_columns(Row("a.jsonl:7", fields), dataset.columns)
    return reader_of(dataset)(row, dataset)


def turns(example: Example) -> list[tuple[str, str, bool]]:
    return [(message.role, message.content, message.train) for message in example.messages]


def chat(*messages: Any, **source: Any) -> list[tuple[str, str, bool]]:
    return turns(read({"messages": list(messages)}, **source))


@pytest.mark.parametrize(
    "fields",
    [
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello"},
            ]
        },
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"messages": [{"from": "user", "value": "Hi"}, {"from": "model", "content": "Hello"}]},
    ],
)
@pytest.mark.parametrize("kind", ["chat_template", "messages", "sharegpt"])
def test_openai_and_sharegpt_rows_read_alike(fields: dict[Any, Any], kind: Any) -> None:
    example = read(fields, type=kind)
    assert turns(example) == [USER, ANSWER]
    assert (example.id, example.where, example.text) == ("a:7", "a.jsonl:7", None)


def test_fields_and_roles_can_be_renamed() -> None:
    fields = {"talk": [{"who": "client", "says": "Hi"}, {"who": "agent", "says": "Hello"}]}
    example = read(
        fields,
        field_messages="talk",
        message_property_mappings={"role": "who", "content": "says"},
        roles={"user": ["client"], "assistant": ["agent"]},
    )
    assert turns(example) == [USER, ANSWER]


def test_a_recipes_roles_come_before_the_usual_ones() -> None:
    swapped = {"user": ["assistant"], "assistant": ["human"]}
    messages = [{"role": "assistant", "content": "Hi"}, {"role": "human", "content": "Hello"}]
    assert chat(*messages, roles=swapped) == [USER, ANSWER]


def test_text_parts_are_joined_and_tool_turns_pass_through() -> None:
    assert chat(
        {"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]},
        {"role": "function_call", "content": "{}"},
        {"role": "observation", "content": "4"},
        {"role": "assistant", "content": [{"type": "text", "value": "Hello"}]},
    ) == [USER, ("assistant", "{}", True), ("tool", "4", False), ANSWER]


def test_every_assistant_turn_trains_unless_its_weight_is_zero() -> None:
    pair = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert [turn[2] for turn in chat(*pair, *pair)] == [False, True, False, True]
    first = [pair[0], {**pair[1], "weight": 0}]
    assert [turn[2] for turn in chat(*first, *pair)] == [False, False, False, True]
    assert [turn[2] for turn in chat(*pair, roles_to_train=["user"])] == [True, False]


def test_a_system_column_leads_and_an_empty_system_message_goes() -> None:
    pair = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert turns(read({"messages": pair, "system": "Be brief"})) == [
        ("system", "Be brief", False),
        USER,
        ANSWER,
    ]
    assert chat({"role": "system", "content": ""}, *pair) == [USER, ANSWER]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ("Hi", "must be a list of messages, found the text 'Hi'"),
        ([], "must be a list of messages, found a list of 0"),
        (["Hi"], "message 1 of `messages` must be a mapping"),
        ([{"content": "Hi"}], "message 1 of `messages` has no `role` or `from`; it has `content`"),
        ([{"role": "user"}], "has no `content` or `value`"),
        ([{"role": "wizard", "content": "Hi"}], "unknown role the text 'wizard'"),
        ([{"role": ["user"], "content": "Hi"}], "unknown role a list of 1"),
        ([{"role": "user", "content": " "}], "(user) is empty"),
        ([{"role": "assistant", "content": None}], "(assistant) is empty"),
        ([{"role": "user", "content": 7}], "must be text, found 7"),
        ([{"role": "user", "content": [{"type": "image"}]}], "only text is read"),
        ([{"role": "assistant", "content": None, "tool_calls": [{}]}], "`tool_calls`"),
        ([{"role": "assistant", "content": "Hi", "weight": 0.5}], "write 0 or 1"),
        ([{"role": "user", "content": "Hi"}], "needs a turn of assistant"),
        ([{"role": "assistant", "content": "Hi", "weight": 0}], "no turn to train on"),
    ],
)
def test_a_bad_conversation_is_refused_with_its_place(messages: Any, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read({"messages": messages})
    assert str(caught.value).startswith("a.jsonl:7: ")
    assert reason in str(caught.value)


def test_prompt_and_completion_may_be_texts_or_messages() -> None:
    assert turns(read({"prompt": "Hi", "completion": "Hello"}, type="prompt_completion")) == [
        USER,
        ANSWER,
    ]
    lists = {
        "prompt": [{"role": "assistant", "content": "?"}, {"role": "user", "content": "Hi"}],
        "completion": [{"role": "assistant", "content": "Hello"}],
    }
    assert turns(read(lists, type="prompt_completion")) == [("assistant", "?", False), USER, ANSWER]


def test_prompt_and_completion_columns_and_template() -> None:
    example = read(
        {"question": "2+2?", "answer": 4, "hint": "add"},
        type="prompt_completion",
        columns={"completion": "answer"},
        prompt="{question} ({hint})",
    )
    assert turns(example) == [("user", "2+2? (add)", False), ("assistant", "4", True)]


def test_alpaca_joins_input_and_unrolls_history() -> None:
    fields = {
        "instruction": "Add",
        "input": "2 2",
        "output": "4",
        "system": "Count",
        "history": [["Hi", "Hello"]],
    }
    assert turns(read(fields, type="alpaca")) == [
        ("system", "Count", False),
        USER,
        ANSWER,
        ("user", "Add\n2 2", False),
        ("assistant", "4", True),
    ]
    plain = {"instruction": "Hi", "input": "", "output": "Hello", "history": None}
    assert turns(read(plain, type="alpaca")) == [USER, ANSWER]


@pytest.mark.parametrize("history", ["Hi", [["Hi"]], [["Hi", 1]], [["Hi", ""]], [7], [None]])
def test_a_bad_history_is_refused(history: Any) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:7: .*`history`"):
        read({"instruction": "a", "output": "b", "history": history}, type="alpaca")


def test_completion_is_raw_text() -> None:
    example = read({"content": "Once"}, type="completion", columns={"text": "content"})
    assert (example.text, example.messages) == ("Once", ())


def test_a_custom_instruct_format_fills_its_two_templates() -> None:
    kind = {
        "system_prompt": "Solve",
        "field_instruction": "question",
        "field_output": "answer",
        "field_input": "context",
        "format": "{input} | {instruction}",
        "no_input_format": "Q: {instruction}",
    }
    with_input = read({"question": "Hi", "context": "c", "answer": "Hello"}, type=kind)
    assert turns(with_input) == [("system", "Solve", False), ("user", "c | Hi", False), ANSWER]
    without = read({"question": "Hi", "answer": "Hello"}, type=kind)
    assert turns(without)[1] == ("user", "Q: Hi", False)


NEWS = {"columns": {"label": 0, "title": 1, "body": 2}, "prompt": "{title}\n{body}\nTopic:"}


def test_classification_writes_the_labels_word() -> None:
    example = read(
        {0: "2", 1: "Cup", 2: "A goal."},
        type="classification",
        label_words={1: "World", 2: "Sports"},
        **NEWS,
    )
    assert turns(example) == [
        ("user", "Cup\nA goal.\nTopic:", False),
        ("assistant", "Sports", True),
    ]
    assert (example.label, example.labels) == ("Sports", ("World", "Sports"))


def test_classification_without_words_or_template_uses_label_and_text() -> None:
    example = read(
        {0: "good", 1: "a", 2: "b"}, type="classification", columns={"label": 0, "text": [1, 2]}
    )
    assert turns(example) == [("user", "a\nb", False), ("assistant", "good", True)]


@pytest.mark.parametrize(("label", "word"), [(True, "yes"), (1, "one"), ("1 ", "one")])
def test_labels_are_matched_as_text(label: Any, word: str) -> None:
    words = {"true": "yes", 1: "one"}
    fields = {"label": label, "text": "t"}
    assert read(fields, type="classification", label_words=words).label == word


@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        ("chat_template", {"msgs": []}, "no column `messages`, did you mean `msgs`?"),
        ("prompt_completion", {"prompt": "a"}, "no column `completion`; the row has `prompt`"),
        ("prompt_completion", {"prompt": "", "completion": "b"}, "`prompt` is empty"),
        ("prompt_completion", {"prompt": {}, "completion": "b"}, "must be text, found a mapping"),
        ("alpaca", {"instruction": "a", "output": None}, "`output` is empty"),
        ("alpaca", {"instruction": "a", "output": True}, "must be text, found true"),
        ("completion", {"txt": "a"}, "did you mean `txt`?"),
        ("classification", {"label": "1", "text": " "}, "comes out empty"),
        ("classification", {"label": "", "text": "a"}, "`label` is empty"),
        ("classification", {"label": "9", "text": "a"}, "label `9` has no word"),
        ("classification", {"x" * 60: "9"}, "If that is a row and no header, give 0-based indexes"),
    ],
)
def test_a_bad_row_names_the_field_and_the_mend(kind: Any, fields: Any, reason: str) -> None:
    words = {"1": "one"} if kind == "classification" else None
    with pytest.raises(DataError) as caught:
        read(fields, type=kind, label_words=words)
    assert str(caught.value).startswith("a.jsonl:7: ")
    assert reason in str(caught.value)


def test_a_wrong_column_name_is_met_before_the_format() -> None:
    with pytest.raises(DataError, match=r"no column `lable`, did you mean `label`\?"):
        read({"label": 1, "text": "a"}, type="classification", columns={"label": "lable"})


def test_a_rows_own_id_and_truth_are_kept() -> None:
    example = read(
        {"prompt": "a", "completion": "b", "id": 12, "truth": {"x": 1}}, type="prompt_completion"
    )
    assert (example.id, example.truth) == ("12", {"x": 1})


def test_a_template_looks_up_names_and_nothing_else() -> None:
    row = Row("a:1", {"a": "x", "a.b": "dot", 0: "zero", "n": None})
    assert fill_template("{{{a}}} {a.b} {0}{n}", row) == "{x} dot zero"
    for template in ("{a.__class__}", "{a[0]}", "{a!r}", "{a:>9}"):
        with pytest.raises(DataError, match="no column"):
            fill_template(template, row)


def test_an_index_means_that_there_is_no_header() -> None:
    assert has_header(None)
    assert has_header({"text": ("a", "b")})
    assert not has_header({"label": 0, "text": (1, 2)})


def test_every_format_that_a_recipe_can_name_has_a_reader() -> None:
    named = ["chat_template", "messages", "sharegpt", "prompt_completion", "alpaca", "completion"]
    pairs = ["preference", "hh_rlhf", "ranking"]
    assert set(FORMATS) == {*named, "classification", *pairs}
    for kind in FORMATS:
        assert reader_of(DatasetSource(path="a", type=kind)) is FORMATS[kind]  # type: ignore[arg-type]
