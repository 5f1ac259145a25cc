"""A recipe's datasets → tokenised training and validation examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from luthier.data.examples import Example
from luthier.data.load import load_examples
from luthier.data.prepared import digest_examples, tokenize_once, tokenize_pairs_once
from luthier.data.split import split_examples
from luthier.data.tokenize import TokenizeOptions
from luthier.data.tokenize_pairs import PairOptions
from luthier.errors import DataError
from luthier.models.load import CHATML, require_chat_template
from luthier.recipe.dataset import DatasetSource
from luthier.recipe.schema import Recipe

TOKENIZER_DEFAULT = "tokenizer_default"


class PreparedData(NamedTuple):
    training: list[Any]  # TokenizedExample, or TokenizedPair where the recipe has `rl`
    validation: list[Any]
    digest: str
    notes: tuple[str, ...]


class _Part(NamedTuple):
    source: DatasetSource
    examples: list[Example]


def prepare_data(
    recipe: Recipe, tokenizer: Any, *, skip_bad_rows: bool, cache: Path | None = None
) -> PreparedData:
    """Read, split and tokenise everything the recipe trains and validates on.

    Raises:
        DataError: a bad row, no data, an example without labels, a validation part that takes all.
    """
    notes: list[str] = []
    training = _read_parts(recipe.datasets, skip_bad_rows, notes)
    validation: list[_Part] = []
    if recipe.test_datasets:
        validation = _read_parts(recipe.test_datasets, skip_bad_rows, notes)
    elif recipe.val_set_size:
        training, validation = _hold_out(training, recipe.val_set_size, recipe.seed)
    digest = digest_examples([example for part in training for example in part.examples])
    return PreparedData(
        _tokenize(training, recipe, tokenizer, cache, notes),
        _tokenize(validation, recipe, tokenizer, cache, notes),
        digest,
        tuple(notes),
    )


def find_cache(recipe: Recipe, given: Path | None) -> Path | None:
    """The folder that keeps what is prepared: the study's, else the recipe's, if any."""
    if given is None and recipe.dataset_prepared_path is not None:
        return Path(recipe.dataset_prepared_path)
    return given


def choose_chat_template(recipe: Recipe) -> str:
    """The template to give the tokenizer: the recipe's, else the one that its datasets share.

    It goes to the tokenizer before anything is tokenised, so that ChatML's marks become tokens,
    and with the tokenizer into the result.
    """
    if recipe.chat_template != TOKENIZER_DEFAULT:
        return recipe.chat_template
    shared = {source.chat_template or TOKENIZER_DEFAULT for source in recipe.datasets}
    return shared.pop() if len(shared) == 1 else TOKENIZER_DEFAULT


def _read_parts(
    sources: Sequence[DatasetSource], skip_bad_rows: bool, notes: list[str]
) -> list[_Part]:
    parts: list[_Part] = []
    for source in sources:
        loaded = load_examples(source, skip_bad_rows=skip_bad_rows)
        notes += loaded.list_remarks(source)
        parts.append(_Part(source, loaded.examples))
    return parts


def _hold_out(parts: list[_Part], size: float, seed: int) -> tuple[list[_Part], list[_Part]]:
    """Hold out a share below 1 of each dataset, or a number of examples spread over them."""
    total = sum(len(part.examples) for part in parts)
    share = size if size < 1 else size / total
    if share >= 1:
        raise DataError(
            f"val_set_size {size:g} leaves nothing of {total} examples to train on. Lower it."
        )
    training: list[_Part] = []
    validation: list[_Part] = []
    for part in parts:
        count = max(1, round(share * len(part.examples)))
        split = split_examples(part.examples, None, count, seed)
        training.append(_Part(part.source, split.train))
        validation.append(_Part(part.source, split.test))
    return training, validation


def _tokenize(
    parts: list[_Part], recipe: Recipe, tokenizer: Any, folder: Path | None, notes: list[str]
) -> list[Any]:
    examples: list[Any] = []
    usual = tokenizer.chat_template
    for source, rows in parts:
        if source.chat_template not in (None, TOKENIZER_DEFAULT):
            tokenizer.chat_template = (
                CHATML if source.chat_template == "chatml" else source.chat_template
            )
        tokenize = _tokenize_pairs if recipe.rl else _tokenize_supervised
        found = tokenize(source, rows, recipe, tokenizer, folder)
        examples += found.examples
        notes += found.remarks
        tokenizer.chat_template = usual
    return examples


class _Tokenized(NamedTuple):
    examples: list[Any]
    remarks: list[str]


def _tokenize_supervised(
    source: DatasetSource, rows: list[Example], recipe: Recipe, tokenizer: Any, folder: Path | None
) -> _Tokenized:
    if any(row.messages for row in rows):
        require_chat_template(tokenizer, recipe.base_model)
    options = TokenizeOptions(
        recipe.sequence_len,
        recipe.excess_length_strategy,
        recipe.train_on_inputs,
        source.train_on_eos,
    )
    data = tokenize_once(rows, tokenizer, options, folder)
    remarks = [
        f"{count} of {len(rows)} examples {word}: longer than sequence_len {recipe.sequence_len}."
        for count, word in ((data.dropped, "dropped"), (data.truncated, "cut"))
        if count
    ]
    return _Tokenized(data.examples, remarks)


def _tokenize_pairs(
    _source: DatasetSource, rows: list[Example], recipe: Recipe, tokenizer: Any, folder: Path | None
) -> _Tokenized:
    # Without a chat template a prompt of one text is taken as it stands.
    options = PairOptions(recipe.sequence_len, recipe.excess_length_strategy)
    data = tokenize_pairs_once(rows, tokenizer, options, folder)
    return _Tokenized(data.pairs, data.list_remarks(recipe.sequence_len))
