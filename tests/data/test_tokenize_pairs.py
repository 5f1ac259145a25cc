"""Pairs of tokens; one token is one byte, so that ids can be read as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from luthier.data.examples import Example, Message
from luthier.data.load import load_examples
from luthier.data.prepared import digest_examples, tokenize_pairs_once
from luthier.data.split import split_examples
from luthier.data.stored import stored_source, write_examples
from luthier.data.tokenize_pairs import PairOptions, tokenize_pair, tokenize_pairs
from luthier.errors import DataError
from luthier.recipe.dataset import DatasetSource

PROMPT = "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"
PROMPT_TOKENS = 3 + len("user\nHi?\nassistant\n")


def pair(chosen: str, rejected: str, *prompt: str, id_: str = "p") -> Example:
    asked = [
        Message("assistant" if number % 2 else "user", text, False)
        for number, text in enumerate(prompt or ("Hi?",))
    ]
    answers = [Message("assistant", text, True) for text in (chosen, rejected)]
    return Example(id_, (*asked, answers[0]), rejected=answers[1], where="a.jsonl:7")


def texts(example: Example, tokenizer: Any) -> list[str]:
    return [tokenizer.decode(ids) for ids in tokenize_pair(example, tokenizer)[1:]]


def test_a_pair_is_the_prompt_once_and_both_answers_with_their_stop_token(
    chat_tokenizer: Any,
) -> None:
    example = pair("Yes.", "No!!!")
    assert texts(example, chat_tokenizer) == [PROMPT, "Yes.<|im_end|>", "No!!!<|im_end|>"]
    tokenized = tokenize_pair(example, chat_tokenizer)
    assert [ids.dtype for ids in tokenized[1:]] == [np.int32] * 3
    assert tokenized.supervised_tokens == 5 + 6
    assert tokenized.tokens == PROMPT_TOKENS + 5 + 6


def test_prompt_and_answer_are_the_conversation_as_the_tokenizer_reads_it(
    chat_tokenizer: Any,
) -> None:
    example = pair("Same start, one", "Same start, two", "Hi?", "Hello.", "And?")
    tokenized = tokenize_pair(example, chat_tokenizer)
    for answer, ids in (
        (example.messages[-1], tokenized.chosen_ids),
        (example.rejected, tokenized.rejected_ids),
    ):
        assert answer is not None
        turns = [{"role": m.role, "content": m.content} for m in (*example.messages[:-1], answer)]
        whole = chat_tokenizer.apply_chat_template(turns, tokenize=False)
        joined = np.concatenate([tokenized.prompt_ids, ids])
        assert joined.tolist() == chat_tokenizer(whole.rstrip())["input_ids"]
    # The answers begin alike, and still they are no part of the prompt.
    assert chat_tokenizer.decode(tokenized.chosen_ids).startswith("Same start")


def merging_tokenizer() -> Any:
    """Letters, and the merges "ab" and "abc"; no chat template; "." ends a text."""
    vocabulary = {letter: number for number, letter in enumerate("abcd.")} | {"ab": 5, "abc": 6}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "b"), ("ab", "c")]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=".")


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("dd", "c", ([3], ["ab", "d", "d", "."], ["abc", "."])),  # only "abc" straddles
        ("cd", "ca", ([3], ["abc", "d", "."], ["abc", "a", "."])),  # both straddle
        ("d", "a", ([3, 5], ["d", "."], ["a", "."])),  # neither does
    ],
)
def test_a_token_over_the_boundary_belongs_to_both_answers(
    chosen: str, rejected: str, expected: Any
) -> None:
    tokenizer = merging_tokenizer()
    tokenized = tokenize_pair(pair(chosen, rejected, "dab"), tokenizer)
    assert (
        tokenized.prompt_ids.tolist(),
        tokenizer.convert_ids_to_tokens(tokenized.chosen_ids.tolist()),
        tokenizer.convert_ids_to_tokens(tokenized.rejected_ids.tolist()),
    ) == expected


def test_raw_text_needs_one_prompt_with_a_token_of_its_own() -> None:
    tokenizer = merging_tokenizer()
    with pytest.raises(DataError, match=r"a\.jsonl:7.*`chat_template: chatml`"):
        tokenize_pair(pair("c", "d", "a", "b", "c"), tokenizer)
    with pytest.raises(DataError, match="no token of its own"):
        tokenize_pair(pair("bc", "b", "a"), tokenizer)


def test_an_example_without_a_rejected_answer_is_refused(chat_tokenizer: Any) -> None:
    example = Example("x", (Message("user", "Hi", False), Message("assistant", "Yes", True)))
    with pytest.raises(DataError, match="example x is no preference pair"):
        tokenize_pair(example, chat_tokenizer)


# With their stop tokens the answers have 3, 6 and 11 tokens.
SHORT, LONGER, LONGEST = "Ye", "Maybe", "Certainly."


def lengths(examples: list[Example], tokenizer: Any, room: int, rule: Any) -> Any:
    options = PairOptions(PROMPT_TOKENS + room, rule)
    data = tokenize_pairs(examples, tokenizer, options)
    sizes = [(len(p.prompt_ids), len(p.chosen_ids), len(p.rejected_ids)) for p in data.pairs]
    assert all(size[0] == PROMPT_TOKENS for size in sizes)
    return [size[1:] for size in sizes], data.dropped, data.truncated, data.same


def test_the_longer_answer_decides_whether_a_pair_is_too_long(chat_tokenizer: Any) -> None:
    examples = [pair(SHORT, LONGER), pair(SHORT, LONGEST), pair(LONGEST, SHORT)]
    assert lengths(examples, chat_tokenizer, 11, "drop") == ([(3, 6), (3, 11), (11, 3)], 0, 0, 0)
    assert lengths(examples, chat_tokenizer, 10, "drop") == ([(3, 6)], 2, 0, 0)
    cut = [(3, 6), (3, 10), (10, 3)]
    assert lengths(examples, chat_tokenizer, 10, "truncate") == (cut, 0, 2, 0)
    with pytest.raises(
        DataError, match=rf"a\.jsonl:7.*{PROMPT_TOKENS + 11} tokens with the longer"
    ):
        lengths(examples, chat_tokenizer, 10, "raise")


@pytest.mark.parametrize("rule", ["drop", "truncate"])
@pytest.mark.parametrize("size", [PROMPT_TOKENS + 20, PROMPT_TOKENS + 17])
def test_a_prompt_without_room_for_an_answer_is_dropped_and_counted(
    rule: Any, size: int, chat_tokenizer: Any
) -> None:
    long = pair(SHORT, LONGER, "Hi?" + "x" * 20)
    data = tokenize_pairs([long, pair(SHORT, LONGER)], chat_tokenizer, PairOptions(size, rule))
    assert (len(data.pairs), data.dropped, data.truncated) == (1, 1, 0)
    assert data.list_remarks(size) == [f"1 of 2 pairs dropped: longer than sequence_len {size}."]


def test_answers_that_the_cut_makes_equal_are_dropped_and_counted(chat_tokenizer: Any) -> None:
    examples = [pair("Certainly.", "Certainly not."), pair(SHORT, LONGER)]
    assert lengths(examples, chat_tokenizer, 9, "truncate") == ([(3, 6)], 0, 0, 1)
    with pytest.raises(DataError, match="answers of all 1 have the same tokens"):
        lengths(examples[:1], chat_tokenizer, 9, "truncate")


def test_no_pair_left_is_an_error_that_tells_the_longest(chat_tokenizer: Any) -> None:
    with pytest.raises(DataError, match=f"the longest {PROMPT_TOKENS + 11}"):
        lengths([pair(SHORT, LONGEST)], chat_tokenizer, 5, "drop")


def test_what_was_tokenised_before_is_read_back(tmp_path: Path, chat_tokenizer: Any) -> None:
    examples = [pair(SHORT, LONGER, id_="a"), pair(LONGEST, SHORT, "Hello?", id_="b")]
    options = PairOptions(PROMPT_TOKENS + 10, "truncate")
    first = tokenize_pairs_once(examples, chat_tokenizer, options, tmp_path)
    again = tokenize_pairs_once(examples, chat_tokenizer, options, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    assert (again.dropped, again.truncated, again.same) == (0, 1, 0) == tuple(first[1:])
    for one, other in zip(first.pairs, again.pairs, strict=True):
        assert one.id == other.id
        for left, right in zip(one[1:], other[1:], strict=True):
            assert left.dtype == right.dtype
            assert left.tolist() == right.tolist()


def test_another_rejected_answer_is_other_data(tmp_path: Path, chat_tokenizer: Any) -> None:
    first, second = [pair(SHORT, LONGER)], [pair(SHORT, LONGEST)]
    assert digest_examples(first) != digest_examples(second)
    for examples in (first, second):
        tokenize_pairs_once(examples, chat_tokenizer, PairOptions(200), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("kind", ["preference", "hh_rlhf", "ranking"])
def test_a_studys_pairs_are_stored_and_read_back(kind: Any, tmp_path: Path) -> None:
    examples = [pair(SHORT, LONGER, id_="a"), pair("c", "d", "a", "b", "e", id_="b")]
    path = tmp_path / "train.jsonl"
    write_examples(path, examples)
    source = stored_source(path, DatasetSource(path="x", type=kind, chat_template="chatml"))
    assert (source.type, source.chat_template) == ("preference", "chatml")
    read = load_examples(source).examples
    told = [(e.id, e.messages, e.rejected) for e in examples]
    assert [(e.id, e.messages, e.rejected) for e in read] == told


def test_pairs_with_one_prompt_stay_on_one_side_of_a_split() -> None:
    examples = [pair("a", str(n), "Hi?" if n < 4 else f"Hi {n}?", id_=str(n)) for n in range(8)]
    split = split_examples(examples, 4, 4, seed=0)
    sides = [{e.id for e in side} for side in (split.train, split.test)]
    assert any({"0", "1", "2", "3"} == side for side in sides)
    assert split.repeated == 4
