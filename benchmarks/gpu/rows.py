"""What both peers train on: rows of exactly so many tokens, the same in every process.

Random tokens cost what a text's cost. A pair's two answers share nothing but their prompt, which
is half of each conversation.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from luthier.data.batches import TokenizedExample
from luthier.data.pairs import TokenizedPair

Labelled = Literal["all", "half"]
# Ids that every vocabulary of shapes.py has, and that mean no special token.
FIRST_ID, END_ID = 256, 8_000


def draw_rows(length: int, count: int, labelled: Labelled = "all") -> list[TokenizedExample]:
    """`count` rows of `length` tokens, all of them labelled or the second half."""
    draw = np.random.default_rng([length, 1])
    mask = np.arange(length) >= (0 if labelled == "all" else length // 2)
    return [
        TokenizedExample(str(number), _draw_ids(draw, length), mask.copy())
        for number in range(count)
    ]


def draw_pairs(length: int, count: int) -> list[TokenizedPair]:
    """`count` pairs whose conversations have `length` tokens each."""
    draw = np.random.default_rng([length, 2])
    prompt = length // 2
    return [
        TokenizedPair(
            str(number),
            _draw_ids(draw, prompt),
            _draw_ids(draw, length - prompt),
            _draw_ids(draw, length - prompt),
        )
        for number in range(count)
    ]


def _draw_ids(draw: np.random.Generator, count: int) -> np.ndarray:
    return draw.integers(FIRST_ID, END_ID, count).astype(np.int32)
