"""Tokenised data on disk, so that the arms of a study tokenise once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luthier.data.batches import TokenizedExample
from luthier.data.examples import Example
from luthier.data.pairs import TokenizedPair
from luthier.data.tokenize import TokenizedData, TokenizeOptions, tokenize_examples
from luthier.data.tokenize_pairs import PairOptions, TokenizedPairs, tokenize_pairs
from luthier.files import make_directory, staged_directory
from luthier.provenance import digest_texts

# Raise it when the same text would be tokenised or masked otherwise than before.
TOKENIZATION = "1"


def tokenize_once(
    examples: Sequence[Example], tokenizer: Any, options: TokenizeOptions, folder: Path | None
) -> TokenizedData:
    """`tokenize_examples`, or what it gave before for the same text, tokenizer and options."""
    if folder is None:
        return tokenize_examples(examples, tokenizer, options)
    place = _find_place(examples, tokenizer, options, folder)
    if (place / "data.npz").exists():
        return _read(place / "data.npz")
    data = tokenize_examples(examples, tokenizer, options)
    with staged_directory(place, existing="keep") as staged:
        _write(staged / "data.npz", data)
    return data


def tokenize_pairs_once(
    examples: Sequence[Example], tokenizer: Any, options: PairOptions, folder: Path | None
) -> TokenizedPairs:
    """`tokenize_pairs`, or what it gave before for the same text, tokenizer and options."""
    if folder is None:
        return tokenize_pairs(examples, tokenizer, options)
    place = _find_place(examples, tokenizer, options, folder)
    if (place / "pairs.npz").exists():
        return _read_pairs(place / "pairs.npz")
    data = tokenize_pairs(examples, tokenizer, options)
    with staged_directory(place, existing="keep") as staged:
        _write_pairs(staged / "pairs.npz", data)
    return data


def _find_place(
    examples: Sequence[Example],
    tokenizer: Any,
    options: TokenizeOptions | PairOptions,
    folder: Path,
) -> Path:
    """The folder of these tokens: named by all that decides them."""
    parts = [
        TOKENIZATION,
        repr(options),
        tokenizer.chat_template or "",
        str(tokenizer.eos_token),
        tokenizer.backend_tokenizer.to_str(),
    ]
    key = digest_texts([*parts, digest_examples(examples)])
    return make_directory(folder) / f"{key[:24]}"


def digest_examples(examples: Sequence[Example]) -> str:
    """SHA-256 over everything of the examples that training sees."""
    return digest_texts(
        text
        for example in examples
        for text in (
            example.id,
            example.text or "",
            *(f"{m.role}\0{m.train}\0{m.content}" for m in example.messages),
            *(("rejected", example.rejected.content) if example.rejected else ()),
        )
    )


def _write(path: Path, data: TokenizedData) -> None:
    np.savez(
        path,
        ids=np.array([example.id for example in data.examples]),
        lengths=np.array([len(example.input_ids) for example in data.examples]),
        input_ids=np.concatenate([example.input_ids for example in data.examples]),
        loss_mask=np.concatenate([example.loss_mask for example in data.examples]),
        counts=np.array([data.dropped, data.truncated]),
    )


def _read(path: Path) -> TokenizedData:
    with np.load(path) as file:
        cuts = np.cumsum(file["lengths"])[:-1]
        parts = zip(
            file["ids"],
            np.split(file["input_ids"], cuts),
            np.split(file["loss_mask"], cuts),
            strict=True,
        )
        examples = [TokenizedExample(str(id_), ids, mask) for id_, ids, mask in parts]
        dropped, truncated = (int(count) for count in file["counts"])
    return TokenizedData(examples, dropped, truncated)


_PAIR_PARTS = ("prompt_ids", "chosen_ids", "rejected_ids")


def _write_pairs(path: Path, data: TokenizedPairs) -> None:
    arrays: dict[str, Any] = {
        "ids": np.array([pair.id for pair in data.pairs]),
        "counts": np.array([data.dropped, data.truncated, data.same]),
    }
    for name in _PAIR_PARTS:
        rows = [getattr(pair, name) for pair in data.pairs]
        arrays |= {name: np.concatenate(rows), f"{name}_lengths": np.array([*map(len, rows)])}
    np.savez(path, **arrays)


def _read_pairs(path: Path) -> TokenizedPairs:
    with np.load(path) as file:
        parts = [
            np.split(file[name], np.cumsum(file[f"{name}_lengths"])[:-1]) for name in _PAIR_PARTS
        ]
        rows = zip(file["ids"], *parts, strict=True)
        pairs = [TokenizedPair(str(id_), *ids) for id_, *ids in rows]
        counts = (int(count) for count in file["counts"])
        return TokenizedPairs(pairs, *counts)
