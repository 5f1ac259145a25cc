"""Tokenised data on disk, so that the arms of a study tokenise once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luthier.data.batches import TokenizedExample
from luthier.data.examples import Example
from luthier.data.tokenize import TokenizedData, TokenizeOptions, tokenize_examples
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
    parts = [
        TOKENIZATION,
        repr(options),
        tokenizer.chat_template or "",
        str(tokenizer.eos_token),
        tokenizer.backend_tokenizer.to_str(),
    ]
    key = digest_texts([*parts, digest_examples(examples)])
    place = make_directory(folder) / f"{key[:24]}"
    if (place / "data.npz").exists():
        return _read(place / "data.npz")
    data = tokenize_examples(examples, tokenizer, options)
    with staged_directory(place) as staged:
        _write(staged / "data.npz", data)
    return data


def digest_examples(examples: Sequence[Example]) -> str:
    """SHA-256 over everything of the examples that training sees."""
    return digest_texts(
        text
        for example in examples
        for text in (
            example.id,
            example.text or "",
            *(f"{m.role}\0{m.train}\0{m.content}" for m in example.messages),
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
