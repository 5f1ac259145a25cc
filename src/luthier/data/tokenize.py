"""Conversations and texts → token ids and a loss mask.

The whole conversation is rendered by its chat template and tokenised once. A token is supervised
where its characters fall inside a trained turn: from the first character after the turn's header
to its stop token. Rendering ever longer prefixes of the conversation finds those spans for any
template whose earlier turns do not change when a turn is added; a template that rewrites its past
(dropping earlier reasoning, say) is refused rather than masked wrongly.

Which stop tokens carry the loss (`train_on_eos`):

    turn  those of the trained turns           all   those of every turn, the user's too
    last  that of the last trained turn        none  none
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from luthier.data.batches import TokenizedExample
from luthier.data.examples import Example, Message
from luthier.errors import DataError

ExcessLength = Literal["drop", "truncate", "raise"]
TrainOnEos = Literal["turn", "all", "last", "none"]


class TokenizedData(NamedTuple):
    examples: list[TokenizedExample]
    dropped: int  # longer than sequence_len
    truncated: int


class TokenizeOptions(NamedTuple):
    sequence_len: int
    excess_length: ExcessLength = "drop"
    train_on_inputs: bool = False
    train_on_eos: TrainOnEos = "turn"


def tokenize_examples(
    examples: Iterable[Example], tokenizer: Any, options: TokenizeOptions
) -> TokenizedData:
    """Tokenise every example and apply the length rule.

    Raises:
        DataError: an example too long under `raise`, an example without one supervised token,
            or no example left.
    """
    kept: list[TokenizedExample] = []
    dropped = truncated = longest = 0
    for example in examples:
        tokenized = tokenize_example(example, tokenizer, options)
        length = len(tokenized.input_ids)
        longest = max(longest, length)
        if length > options.sequence_len:
            if options.excess_length == "drop":
                dropped += 1
                continue
            if options.excess_length == "raise":
                raise DataError(
                    f"{_name(example)}: {length} tokens, more than sequence_len "
                    f"{options.sequence_len}. Raise sequence_len, or set "
                    "excess_length_strategy to drop or truncate."
                )
            truncated += 1
            tokenized = TokenizedExample(
                tokenized.id,
                tokenized.input_ids[: options.sequence_len],
                tokenized.loss_mask[: options.sequence_len],
            )
        if tokenized.supervised_tokens == 0:
            raise DataError(
                f"{_name(example)}: every label is masked, so it teaches nothing. It needs text "
                f"after its beginning, in a turn that is trained (roles_to_train) and within the "
                f"first {options.sequence_len} tokens (sequence_len)."
            )
        kept.append(tokenized)
    if not kept:
        raise DataError(
            f"no example is left: all {dropped} have more than sequence_len "
            f"{options.sequence_len} tokens (the longest {longest}). Raise sequence_len."
            if dropped
            else "the data hold no example."
        )
    return TokenizedData(kept, dropped, truncated)


def tokenize_example(
    example: Example, tokenizer: Any, options: TokenizeOptions
) -> TokenizedExample:
    """Token ids and loss mask of one example, before any length rule."""
    if example.text is not None:
        ids = [*tokenizer(example.text, add_special_tokens=True)["input_ids"]]
        if tokenizer.eos_token_id is not None and (not ids or ids[-1] != tokenizer.eos_token_id):
            ids.append(tokenizer.eos_token_id)
        return TokenizedExample(
            example.id, np.array(ids, dtype=np.int32), np.ones(len(ids), dtype=bool)
        )
    spans, text = find_supervised_spans(example, tokenizer, options.train_on_eos)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    if options.train_on_inputs:
        mask = np.ones(len(offsets), dtype=bool)
    else:
        mask = np.zeros(len(offsets), dtype=bool)
        for start, end in spans:
            # A token that straddles the start belongs to the header, one past the end to no turn.
            mask |= (offsets[:, 0] >= start) & (offsets[:, 0] < end) & (offsets[:, 1] > start)
    return TokenizedExample(example.id, np.array(encoded["input_ids"], dtype=np.int32), mask)


def render_chat(tokenizer: Any, messages: Sequence[dict[str, str]], *, prompt: bool) -> str:
    """The chat template's text for `messages`; with `prompt`, up to where the answer begins."""
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    )


def find_supervised_spans(
    example: Example, tokenizer: Any, train_on_eos: TrainOnEos = "turn"
) -> tuple[list[tuple[int, int]], str]:
    """Character spans of what is supervised in the rendered conversation, and its text.

    Raises:
        DataError: the template cannot render the conversation, or changes its earlier turns.
    """
    try:
        whole = render_chat(tokenizer, _as_turns(example.messages), prompt=False)
        trained = [index for index, message in enumerate(example.messages) if message.train]
        visited = range(len(example.messages)) if train_on_eos == "all" else trained
        spans: list[tuple[int, int]] = []
        for index in visited:
            turn = _find_turn(example, index, whole, tokenizer)
            with_stop = train_on_eos in ("turn", "all") or (
                train_on_eos == "last" and index == trained[-1]
            )
            start = turn.start if example.messages[index].train else turn.content_end
            end = turn.stop if with_stop else turn.content_end
            if start < end:
                spans.append((start, end))
    except DataError:
        raise
    except Exception as error:
        # Templates raise jinja2's own errors and whatever their author chose to raise.
        raise DataError(
            f"{_name(example)}: the chat template refused the conversation: {error}"
        ) from error
    return spans, whole


class _Turn(NamedTuple):
    """Places in the rendered text: after the header, after the content, after the stop token."""

    start: int
    content_end: int
    stop: int


def _find_turn(example: Example, index: int, whole: str, tokenizer: Any) -> _Turn:
    message = example.messages[index]
    assistant = message.role == "assistant"
    before = ""
    if index:
        # What is generated begins after the header that the template's prompt ends with; of the
        # other roles no header is known, so their turns begin at their content.
        before = render_chat(tokenizer, _as_turns(example.messages[:index]), prompt=assistant)
    after = render_chat(tokenizer, _as_turns(example.messages[: index + 1]), prompt=False).rstrip()
    content = message.content.strip()
    found = whole.find(content, len(before))
    if not (whole.startswith(before) and whole.startswith(after)) or found < 0:
        raise DataError(
            f"{_name(example)}: the chat template rewrites earlier turns, so turn {index + 1} "
            "cannot be masked exactly. Give a chat_template that only appends (chatml does)."
        )
    start = len(before) if assistant and index else found
    return _Turn(start, found + len(content), len(after))


def _as_turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _name(example: Example) -> str:
    return f"{example.where}: example {example.id}" if example.where else f"example {example.id}"
