"""Perplexity: how surprised the model is by a text, or by the answers of conversations.

`nats_per_token` is the mean −log p of an example's supervised tokens, its value per example.
Perplexity is exp of the mean over all tokens of all examples, so long examples weigh more, and
bits per byte divides by bytes instead of tokens: it alone compares models whose tokenizers differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from luthier.data.batches import TokenizedExample, pack
from luthier.data.examples import Example
from luthier.data.tokenize import TokenizeOptions, tokenize_example
from luthier.errors import DataError
from luthier.evaluate.model import EvaluatedModel
from luthier.evaluate.task import Scored, Summary, Task, TaskOptions
from luthier.models.load import require_chat_template
from luthier.objectives.token_losses import compute_token_losses

ROW_TOKENS = 4096


def check_text(examples: Sequence[Example]) -> None:
    for example in examples:
        if not example.text and not example.messages:
            raise DataError(f"{example.where or example.id}: no text to score.")


def score_texts(
    model: EvaluatedModel, examples: Sequence[Example], options: TaskOptions
) -> Iterator[Scored]:
    with model.over_packed_rows() as packed:
        for row in _rows(model, examples, options.batch_size):
            batch = pack([piece for _, piece in row]).to(model.device)
            losses = compute_token_losses(packed, batch).split(
                [piece.supervised_tokens for _, piece in row]
            )
            for (example, piece), values in zip(row, losses, strict=True):
                count = piece.supervised_tokens
                yield Scored(
                    piece.id,
                    "",
                    "",
                    {"nats_per_token": float(values.double().sum()) / count},
                    {
                        "source": example.id,
                        "tokens": count,
                        "bytes": count_bytes(model.tokenizer, piece),
                    },
                )


def count_bytes(tokenizer: Any, piece: TokenizedExample) -> int:
    """UTF-8 bytes of the scored text; a stop token is scored but is no text."""
    text = tokenizer.decode(
        piece.input_ids[1:][piece.loss_mask[1:]],
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
    return len(text.encode("utf-8"))


def _rows(
    model: EvaluatedModel, examples: Sequence[Example], batch_size: int
) -> Iterator[list[tuple[Example, TokenizedExample]]]:
    """Packed rows of at most ROW_TOKENS tokens and `batch_size` pieces."""
    row: list[tuple[Example, TokenizedExample]] = []
    used = 0
    for example in examples:
        options = TokenizeOptions(sequence_len=model.context_tokens)
        if example.messages:
            require_chat_template(model.tokenizer, "the model")
        whole = tokenize_example(example, model.tokenizer, options)
        if not whole.supervised_tokens:
            raise DataError(
                f"{example.where or example.id}: not one token to score. A text needs at least "
                "two tokens, a conversation an answer."
            )
        for piece in _pieces(whole, options):
            length = len(piece.input_ids)
            if row and (used + length > ROW_TOKENS or len(row) >= batch_size):
                yield row
                row, used = [], 0
            row.append((example, piece))
            used += length
    if row:
        yield row


def _pieces(whole: TokenizedExample, options: TokenizeOptions) -> Iterator[TokenizedExample]:
    """Cut at the model's context; each piece begins with the last token of the one before."""
    step = options.sequence_len - 1
    count = max(1, math.ceil((len(whole.input_ids) - 1) / step))
    for number in range(count):
        part = slice(number * step, number * step + options.sequence_len)
        id_ = whole.id if count == 1 else f"{whole.id}/{number + 1}"
        piece = TokenizedExample(id_, whole.input_ids[part], whole.loss_mask[part])
        if piece.supervised_tokens:
            yield piece


def summarise_texts(rows: Iterator[Mapping[str, Any]]) -> Summary:
    nats, tokens, size = 0.0, 0, 0
    for row in rows:
        nats += row["scores"]["nats_per_token"] * row["tokens"]
        tokens += row["tokens"]
        size += row["bytes"]
    return Summary(
        {
            "perplexity": math.exp(min(nats / tokens, 700.0)),
            "bits_per_byte": nats / math.log(2) / max(size, 1),
        },
        {"tokens": tokens, "bytes": size},
    )


PERPLEXITY = Task(
    {"nats_per_token": "score"}, check_text, score_texts, summarise_texts, TaskOptions(0, 32)
)
