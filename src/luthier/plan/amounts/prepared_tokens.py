"""Token counts of data that an earlier run has tokenised and kept on disk."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np


class PreparedTokens(NamedTuple):
    """The kept examples of one dataset.

    Attributes:
        lengths: tokens of each in a row (a pair's prompt once, and both answers).
        sequences: tokens that the model reads at once, of each.
        supervised: all tokens that carry a label.
        left_out: examples that were dropped for their length or because both answers are the same.
    """

    lengths: np.ndarray
    sequences: np.ndarray
    supervised: int
    left_out: int


def find_prepared(folder: Path, *, pairs: bool, rows: int | None) -> PreparedTokens | None:
    """The one entry of `folder` that can be the dataset's; None where none or several can.

    What an entry was made from is hidden in its name, which only training can work out. The
    number of rows tells them apart.

    Args:
        folder: a recipe's `dataset_prepared_path`, or a study's `data/prepared`.
        pairs: whether the dataset holds preference pairs.
        rows: how many of its rows are trained on; None where that is not known.
    """
    name = "pairs.npz" if pairs else "data.npz"
    if not folder.is_dir():
        return None
    found: list[PreparedTokens] = []
    for file in sorted(folder.glob(f"*/{name}")):
        try:
            entry = _read_pairs(file) if pairs else _read_examples(file)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            continue  # Another process may be writing it, or it may be of an older kind.
        if rows is None or len(entry.lengths) + entry.left_out == rows:
            found.append(entry)
    return found[0] if len(found) == 1 else None


def _read_examples(file: Path) -> PreparedTokens:
    with np.load(file) as data:
        lengths, mask = data["lengths"], data["loss_mask"]
        starts = np.cumsum(lengths) - lengths
        # The first token of an example has no predecessor to predict it from.
        supervised = int(mask.sum() - mask[starts[lengths > 0]].sum())
        return PreparedTokens(lengths, lengths, supervised, int(data["counts"][0]))


def _read_pairs(file: Path) -> PreparedTokens:
    with np.load(file) as data:
        prompt, chosen, rejected = (
            data[f"{part}_ids_lengths"] for part in ("prompt", "chosen", "rejected")
        )
        dropped, _truncated, same = (int(count) for count in data["counts"])
        answers = chosen + rejected
        longest = prompt + np.maximum(chosen, rejected)
        return PreparedTokens(prompt + answers, longest, int(answers.sum()), dropped + same)
