"""Preference pairs → token ids: the prompt's once, and each answer's up to its stop token.

Both conversations are rendered whole by the chat template and tokenised once each, as in
`tokenize.py`. The prompt is the tokens that both share and that lie wholly before the answer. A
token that straddles the boundary belongs to the answers: the prompt then ends one token earlier,
and prompt + answer is still exactly what the tokenizer makes of the conversation.

A tokenizer without a chat template takes prompt and answer as they stand, followed by its end of
text; there the prompt must be a single text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from luthier.data.examples import Example, Message
from luthier.data.pairs import TokenizedPair
from luthier.data.tokenize import ExcessLength, find_supervised_spans
from luthier.errors import DataError


class PairOptions(NamedTuple):
    sequence_len: int  # bounds the prompt with either answer
    excess_length: ExcessLength = "drop"


class TokenizedPairs(NamedTuple):
    pairs: list[TokenizedPair]
    dropped: int = 0  # longer than sequence_len; under `truncate`, those whose prompt alone is
    truncated: int = 0  # answers cut at sequence_len
    same: int = 0  # dropped: both answers have the same tokens, perhaps only after the cut

    def list_remarks(self, sequence_len: int) -> list[str]:
        """What was left out or cut, one sentence each."""
        total = len(self.pairs) + self.dropped + self.same
        counts = (
            (self.dropped, f"dropped: longer than sequence_len {sequence_len}"),
            (self.truncated, f"cut: longer than sequence_len {sequence_len}"),
            (self.same, "dropped: both answers have the same tokens"),
        )
        return [f"{count} of {total} pairs {what}." for count, what in counts if count]


class _Answered(NamedTuple):
    """A prompt with one of its answers.

    Attributes:
        ids: token ids of the whole.
        prompt_tokens: how many of them lie wholly before the answer.
    """

    ids: list[int]
    prompt_tokens: int


def tokenize_pairs(
    examples: Iterable[Example], tokenizer: Any, options: PairOptions
) -> TokenizedPairs:
    """Tokenise every pair and apply the length rule to the prompt with each answer.

    `drop` leaves out a pair that is too long, `truncate` cuts the ends of its answers. A prompt is
    never cut: where it leaves no room for an answer, the pair is left out and counted either way.

    Raises:
        DataError: a pair too long under `raise`, an example that is no pair, or no pair left.
    """
    kept: list[TokenizedPair] = []
    dropped = truncated = same = longest = 0
    for example in examples:
        pair = tokenize_pair(example, tokenizer)
        room = options.sequence_len - len(pair.prompt_ids)
        answer = max(len(pair.chosen_ids), len(pair.rejected_ids))
        length = len(pair.prompt_ids) + answer
        longest = max(longest, length)
        if answer > room:
            if options.excess_length == "raise":
                raise DataError(
                    f"{_name(example)}: {length} tokens with the longer answer, more than "
                    f"sequence_len {options.sequence_len}. Raise sequence_len, or set "
                    "excess_length_strategy to drop or truncate."
                )
            if options.excess_length == "drop" or room < 1:
                dropped += 1
                continue
            pair = pair._replace(
                chosen_ids=pair.chosen_ids[:room], rejected_ids=pair.rejected_ids[:room]
            )
        if np.array_equal(pair.chosen_ids, pair.rejected_ids):
            same += 1
            continue
        truncated += answer > room
        kept.append(pair)
    if not kept:
        raise DataError(_nothing_left(dropped, same, longest, options.sequence_len))
    return TokenizedPairs(kept, dropped, truncated, same)


def tokenize_pair(example: Example, tokenizer: Any) -> TokenizedPair:
    """The tokens of one pair, before any length rule.

    Raises:
        DataError: an example without a rejected answer, or one that the chat template refuses.
    """
    if example.rejected is None:
        raise DataError(
            f"{_name(example)} is no preference pair: it has no rejected answer. Give the dataset "
            "a `type` of pairs: preference, hh_rlhf or ranking."
        )
    *prompt, chosen = example.messages
    first = _tokenize_answered(example, prompt, chosen, tokenizer)
    second = _tokenize_answered(example, prompt, example.rejected, tokenizer)
    shared = 0
    most = min(first.prompt_tokens, second.prompt_tokens)
    while shared < most and first.ids[shared] == second.ids[shared]:
        shared += 1
    if shared == 0:
        raise DataError(
            f"{_name(example)}: the prompt has no token of its own before the answers. Give it "
            "text, or a chat_template that begins with a token."
        )
    ids = (first.ids[:shared], first.ids[shared:], second.ids[shared:])
    return TokenizedPair(example.id, *(np.array(part, dtype=np.int32) for part in ids))


def _tokenize_answered(
    example: Example, prompt: list[Message], answer: Message, tokenizer: Any
) -> _Answered:
    if tokenizer.chat_template is None:
        return _tokenize_text(example, prompt, answer, tokenizer)
    conversation = Example(example.id, (*prompt, answer), where=example.where)
    spans, text = find_supervised_spans(conversation, tokenizer)
    start, stop = spans[-1]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    # Templates may go on after the stop token, with a line's end: nothing that a model writes.
    length = next(
        (index for index, (begin, _) in enumerate(offsets) if begin >= stop), len(offsets)
    )
    return _Answered(encoded["input_ids"][:length], _tokens_before(start, offsets))


def _tokenize_text(
    example: Example, prompt: list[Message], answer: Message, tokenizer: Any
) -> _Answered:
    if len(prompt) != 1:
        raise DataError(
            f"{_name(example)}: a conversation of several turns needs a chat template, and the "
            "tokenizer has none. Write `chat_template: chatml`."
        )
    asked = prompt[0].content
    encoded = tokenizer(asked + answer.content, return_offsets_mapping=True)
    ids = [*encoded["input_ids"]]
    if tokenizer.eos_token_id is not None and ids[-1] != tokenizer.eos_token_id:
        ids.append(tokenizer.eos_token_id)
    return _Answered(ids, _tokens_before(len(asked), encoded["offset_mapping"]))


def _tokens_before(boundary: int, offsets: list[tuple[int, int]]) -> int:
    """How many tokens end at or before the character `boundary`, from the beginning on."""
    for index, (_, end) in enumerate(offsets):
        if end > boundary:
            return index
    return len(offsets)


def _nothing_left(dropped: int, same: int, longest: int, sequence_len: int) -> str:
    if dropped:
        return (
            f"no pair is left: {dropped} have more than sequence_len {sequence_len} tokens (the "
            f"longest {longest}). Raise sequence_len."
        )
    if same:
        return f"no pair is left: the answers of all {same} have the same tokens."
    return "the data hold no pair."


def _name(example: Example) -> str:
    return f"{example.where}: example {example.id}" if example.where else f"example {example.id}"
