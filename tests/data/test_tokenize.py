"""Which tokens are supervised; one token is one byte, so that masks can be read as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import build_tokenizer

from luthier.data.examples import Example, Message
from luthier.data.prepared import tokenize_once
from luthier.data.tokenize import TokenizeOptions, tokenize_example, tokenize_examples
from luthier.errors import DataError

OPTIONS = TokenizeOptions(sequence_len=1000)


def conversation(*turns: str, train: tuple[bool, ...] | None = None, **fields: Any) -> Example:
    """Turns of user and assistant in alternation; a first turn with "system:" is that."""
    messages: list[Message] = []
    for number, turn in enumerate(turns):
        role = "assistant" if len(messages) % 2 else "user"
        trained = role == "assistant" if train is None else train[number]
        messages.append(Message(role, turn, trained))
    return Example("row-1", tuple(messages), **fields)


def supervised(example: Example, tokenizer: Any, **options: Any) -> list[str]:
    """The supervised stretches, as text."""
    tokenized = tokenize_example(example, tokenizer, OPTIONS._replace(**options))
    stretches: list[list[int]] = []
    before = False
    for token, chosen in zip(tokenized.input_ids, tokenized.loss_mask, strict=True):
        if chosen and not before:
            stretches.append([])
        if chosen:
            stretches[-1].append(int(token))
        before = bool(chosen)
    return [tokenizer.decode(ids) for ids in stretches]


def test_the_answer_and_its_stop_token_are_supervised(chat_tokenizer: Any) -> None:
    assert supervised(conversation("Hi?", "Yes."), chat_tokenizer) == ["Yes.<|im_end|>"]


def test_the_whole_conversation_is_tokenised(chat_tokenizer: Any) -> None:
    tokenized = tokenize_example(conversation("Hi?", "Yes."), chat_tokenizer, OPTIONS)
    assert chat_tokenizer.decode(tokenized.input_ids) == (
        "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
    )


@pytest.mark.parametrize(
    ("train_on_eos", "expected"),
    [
        ("turn", ["B<|im_end|>", "D<|im_end|>"]),
        ("last", ["B", "D<|im_end|>"]),
        ("none", ["B", "D"]),
        ("all", ["<|im_end|>", "B<|im_end|>", "<|im_end|>", "D<|im_end|>"]),
    ],
)
def test_train_on_eos_chooses_the_stop_tokens(
    train_on_eos: str, expected: list[str], chat_tokenizer: Any
) -> None:
    example = conversation("A", "B", "C", "D")
    assert supervised(example, chat_tokenizer, train_on_eos=train_on_eos) == expected


def test_last_means_the_last_turn_that_is_trained(chat_tokenizer: Any) -> None:
    example = conversation("A", "B", "C", "D", train=(False, True, False, False))
    assert supervised(example, chat_tokenizer, train_on_eos="last") == ["B<|im_end|>"]


def test_a_turn_that_is_not_trained_is_masked(chat_tokenizer: Any) -> None:
    example = conversation("A", "B", "C", "D", train=(False, False, False, True))
    assert supervised(example, chat_tokenizer) == ["D<|im_end|>"]


def test_a_trained_user_turn_begins_at_its_content(chat_tokenizer: Any) -> None:
    example = conversation("A", "B", train=(True, True))
    assert supervised(example, chat_tokenizer) == ["A<|im_end|>", "B<|im_end|>"]


def test_an_assistant_that_speaks_first_is_supervised_without_its_header(
    chat_tokenizer: Any,
) -> None:
    example = Example("x", (Message("assistant", "Hello.", True), Message("user", "Hi", False)))
    assert supervised(example, chat_tokenizer) == ["Hello.<|im_end|>"]


def test_train_on_inputs_supervises_everything(chat_tokenizer: Any) -> None:
    tokenized = tokenize_example(
        conversation("A", "B"), chat_tokenizer, OPTIONS._replace(train_on_inputs=True)
    )
    assert tokenized.loss_mask.all()


@pytest.mark.parametrize("answer", ["im_end", "<|", "assistant", "A", "é🙂", "  padded  "])
def test_an_answer_that_looks_like_the_template_is_found_all_the_same(
    answer: str, chat_tokenizer: Any
) -> None:
    example = conversation("A", answer)
    found = supervised(example, chat_tokenizer, train_on_eos="none")
    assert found == [answer.rstrip()]
    assert supervised(example, chat_tokenizer) == [f"{answer}<|im_end|>"]


def test_a_template_that_trims_is_understood(chat_tokenizer: Any) -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['content']", "message['content'] | trim"
    )
    assert supervised(conversation(" A ", " B "), tokenizer) == ["B<|im_end|>"]


def test_the_embedded_models_template_masks_the_same() -> None:
    from luthier.models.load import load_tokenizer

    tokenizer = load_tokenizer("embedded").tokenizer
    found = supervised(conversation("A", "B b", "C", "D"), tokenizer)
    assert found == ["B b<|im_end|>", "D<|im_end|>"]


def test_raw_text_is_supervised_whole_and_ends_with_the_stop_token(chat_tokenizer: Any) -> None:
    example = Example("t", (), text="Once.")
    assert supervised(example, chat_tokenizer) == ["Once.<|im_end|>"]


def test_a_template_that_rewrites_its_past_is_refused() -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['role'] == 'assistant' and not loop.last %}(gone)"
        "{% else %}{{ message['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    assert supervised(conversation("A", "B"), tokenizer) == ["B<|im_end|>"]
    with pytest.raises(DataError, match=r"row-1.*rewrites earlier turns.*turn 2"):
        supervised(conversation("A", "B", "C", "D"), tokenizer)


def test_a_template_that_refuses_a_role_is_quoted() -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no user turns here') }}"
    with pytest.raises(DataError, match=r"data.jsonl:7.*no user turns here"):
        supervised(conversation("A", "B", where="data.jsonl:7"), tokenizer)


def test_an_example_without_a_label_is_an_error_that_names_it(chat_tokenizer: Any) -> None:
    example = conversation("A", "B", train=(False, False), where="data.jsonl:7")
    with pytest.raises(DataError, match=r"data.jsonl:7: example row-1.*every label is masked"):
        tokenize_examples([example], chat_tokenizer, OPTIONS)


def test_long_examples_are_dropped_and_counted(chat_tokenizer: Any) -> None:
    examples = [conversation("A", "B"), conversation("A" * 200, "B")]
    data = tokenize_examples(examples, chat_tokenizer, TokenizeOptions(100))
    assert (len(data.examples), data.dropped, data.truncated) == (1, 1, 0)


def test_long_examples_are_cut_and_counted(chat_tokenizer: Any) -> None:
    data = tokenize_examples(
        [conversation("A", "B" * 200)], chat_tokenizer, TokenizeOptions(100, "truncate")
    )
    assert (len(data.examples[0].input_ids), data.truncated) == (100, 1)


def test_long_examples_raise_when_asked_to(chat_tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"row-1: \d+ tokens, more than sequence_len 100"):
        tokenize_examples(
            [conversation("A", "B" * 200)], chat_tokenizer, TokenizeOptions(100, "raise")
        )


def test_an_answer_that_is_cut_off_whole_is_an_error(chat_tokenizer: Any) -> None:
    with pytest.raises(DataError, match="every label is masked"):
        tokenize_examples(
            [conversation("A" * 200, "B")], chat_tokenizer, TokenizeOptions(100, "truncate")
        )


def test_dropping_everything_is_an_error(chat_tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"all 1 have more than sequence_len 5"):
        tokenize_examples([conversation("A", "B")], chat_tokenizer, TokenizeOptions(5))


def test_tokenised_data_reads_back_the_same(chat_tokenizer: Any, tmp_path: Path) -> None:
    examples = [conversation("A", "B" * number) for number in (1, 30, 200)]
    options = TokenizeOptions(100)
    first, again = (tokenize_once(examples, chat_tokenizer, options, tmp_path) for _ in range(2))
    assert first.dropped == again.dropped == 1
    for before, after in zip(first.examples, again.examples, strict=True):
        assert before.id == after.id
        assert (before.input_ids == after.input_ids).all()
        assert (before.loss_mask == after.loss_mask).all()
    assert len(list(tmp_path.iterdir())) == 1


def test_another_stop_token_or_option_is_tokenised_anew(tmp_path: Path) -> None:
    examples = [Example("t", (), text="Once.")]
    tokenizer = build_tokenizer()
    tokenize_once(examples, tokenizer, OPTIONS, tmp_path)
    tokenizer.eos_token = "<|pad|>"
    other = tokenize_once(examples, tokenizer, OPTIONS, tmp_path)
    assert tokenizer.decode(other.examples[0].input_ids) == "Once.<|pad|>"
    tokenize_once(examples, tokenizer, OPTIONS._replace(sequence_len=50), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
