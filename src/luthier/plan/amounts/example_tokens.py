"""Tokens of examples that are at hand: by the model's tokenizer, else by their characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from luthier.data.examples import Example, Message
from luthier.plan.figure import Basis
from luthier.recipe.schema import Recipe

# Before and after a turn ChatML writes <|im_start|>, the role, a line's end, <|im_end|> and a
# line's end again; other templates take about as many.
TURN_TOKENS = 5
STOP_TOKENS = 1
# English text in today's vocabularies. OpenAI's guide to counting tokens says the same.
CHARACTERS_PER_TOKEN = 4.0
# A larger tokenizer.json (those of 250,000 entries) takes longer to read than a plan may take.
LARGEST_TOKENIZER_BYTES = 12_000_000

CountTexts = Callable[[Sequence[str]], list[int]]


class Counter(NamedTuple):
    """How texts are counted.

    Attributes:
        count_texts: texts → tokens of each.
        basis: of what it gives.
        source: in a few words.
    """

    count_texts: CountTexts
    basis: Basis
    source: str


class ExampleTokens(NamedTuple):
    """Tokens of one example, as training lays it out.

    Attributes:
        tokens: in a row; a pair's prompt once and both answers.
        longest_sequence: what the model must read at once: of a pair the longer conversation.
        supervised: tokens that carry a label.
    """

    tokens: int
    longest_sequence: int
    supervised: int


def choose_counter(recipe: Recipe, folder: Path | None) -> Counter:
    """By the tokenizer in `folder`, where there is one that is read quickly."""
    file = None if folder is None else folder / "tokenizer.json"
    if file is None or not file.is_file() or file.stat().st_size > LARGEST_TOKENIZER_BYTES:
        return Counter(_by_characters, "assumed", f"characters ÷ {CHARACTERS_PER_TOKEN:g}")
    tokenizer = _read_tokenizer(str(file))

    def count(texts: Sequence[str]) -> list[int]:
        encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(item.ids) for item in encoded]

    return Counter(count, "computed", f"{recipe.base_model}'s tokenizer, on a sample of rows")


@lru_cache(maxsize=4)
def _read_tokenizer(file: str) -> Any:
    # A compiled library without torch; imported only where there is something to count.
    from tokenizers import Tokenizer

    return Tokenizer.from_file(file)


def _by_characters(texts: Sequence[str]) -> list[int]:
    return [round(len(text) / CHARACTERS_PER_TOKEN) for text in texts]


def count_examples(
    examples: Sequence[Example], counter: Counter, *, train_on_inputs: bool
) -> list[ExampleTokens]:
    """Tokens of each example, template's marks and stop tokens included."""
    texts: list[str] = []
    for example in examples:
        texts += [message.content for message in _all_turns(example)] or [example.text or ""]
    counts = iter(counter.count_texts(texts))
    return [_count_example(example, counts, train_on_inputs) for example in examples]


def _all_turns(example: Example) -> tuple[Message, ...]:
    return (*example.messages, *((example.rejected,) if example.rejected else ()))


def _count_example(example: Example, counts: Any, train_on_inputs: bool) -> ExampleTokens:
    turns = _all_turns(example)
    if not turns:
        tokens = next(counts) + STOP_TOKENS
        return ExampleTokens(tokens, tokens, tokens - 1)
    sizes = [next(counts) for _ in turns]
    if example.rejected is not None:
        # What stands in front of an answer belongs to the prompt, and its stop token to it.
        *prompt, chosen, rejected = sizes
        before = sum(prompt) + TURN_TOKENS * (len(prompt) + 1) - STOP_TOKENS
        answers = chosen + rejected + 2 * STOP_TOKENS
        longest = before + max(chosen, rejected) + STOP_TOKENS
        return ExampleTokens(before + answers, longest, answers)
    tokens = sum(sizes) + TURN_TOKENS * len(sizes)
    trained = [size + STOP_TOKENS for size, turn in zip(sizes, turns, strict=True) if turn.train]
    return ExampleTokens(tokens, tokens, tokens - 1 if train_on_inputs else sum(trained))
