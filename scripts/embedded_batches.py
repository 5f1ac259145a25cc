"""Which tokens a step sees: a function of the step and the seed, with nothing to save.

Shapes: `B` rows of a batch, `T` tokens of a sequence, `N` tokens of the corpus.

Every row is a window of one source. A source is gone through from end to end, its windows in an
order drawn anew for each pass, before any of it is seen again: how often a text is repeated is
known beforehand, and that is what decides whether a source is overfitted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from embedded_corpus import TEXTS

from luthier.errors import DataError

CYCLE_ROWS = 1000  # after so many rows, every source has had its share exactly

# Shares of the training tokens; those of sources that a corpus lacks are spread over the rest.
MIXTURES: dict[str, dict[str, float]] = {
    # For some ten million tokens: no natural source but WikiText is gone through twice.
    "short": {name: source.share for name, source in TEXTS.items()},
    # For a billion: the small natural sources are gone through 20 times, Python 14, books 24.
    # Trials on a twentieth of the weights: on a twentieth of the text all but Python, which stood
    # still from eight passes on, were still getting better after that many. On half as much text
    # for the same weights WikiText, Shakespeare and Python had got worse from fifteen passes on.
    "long": {
        "wikitext2": 0.0125,
        "gutenberg": 0.08,
        "python": 0.04,
        "tinyshakespeare": 0.0075,
        "generated news": 0.28,
        "generated conversations": 0.58,
    },
}


class BatchPlan:
    """Where the rows of each step begin among all tokens of a corpus, laid end to end.

    Args:
        lengths: source → tokens, in the order in which they lie.
        shares: source → its share of the rows; need not sum to one.
        window: tokens of a row, the last one's successor included (T + 1).

    Raises:
        DataError: a source is too short for a single row.
    """

    def __init__(
        self,
        lengths: Mapping[str, int],
        shares: Mapping[str, float],
        *,
        rows: int,
        window: int,
        seed: int,
    ) -> None:
        self._names = list(lengths)
        self._lengths = np.array([lengths[name] for name in self._names])
        self._stride = window - 1  # the last token of a row is the first of the next
        # A pass begins up to one stride late, so that windows are not cut at the same places.
        self._windows = (self._lengths - window) // self._stride
        for name, length, windows in zip(self._names, self._lengths, self._windows, strict=True):
            if windows < 1:
                raise DataError(
                    f"{name}: {length} tokens are too few for rows of {window}. Leave the source "
                    "out, or give it more text."
                )
        self._begins = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])
        self._rows, self._seed = rows, seed
        self._quota = _round_shares([shares[name] for name in self._names], CYCLE_ROWS)
        order = np.random.default_rng([seed, 0]).permutation(CYCLE_ROWS)
        self._source_of_place = np.repeat(np.arange(len(self._names)), self._quota)[order]
        self._rank_of_place = np.zeros(CYCLE_ROWS, dtype=np.int64)
        for source, quota in enumerate(self._quota):
            self._rank_of_place[self._source_of_place == source] = np.arange(quota)
        # Passes only go up, so that one of each source is enough to remember.
        self._order_of_source: dict[int, tuple[int, np.ndarray]] = {}

    def starts_of_step(self, step: int) -> np.ndarray:
        """(B,) the first token of each row."""
        cycle, place = np.divmod(np.arange(step * self._rows, (step + 1) * self._rows), CYCLE_ROWS)
        source = self._source_of_place[place]
        ordinal = cycle * self._quota[source] + self._rank_of_place[place]
        passes, turn = np.divmod(ordinal, self._windows[source])
        rows = zip(source.tolist(), passes.tolist(), turn.tolist(), strict=True)
        return np.array([self._begins[s] + self._order(s, p)[t] for s, p, t in rows])

    def count_passes(self, steps: int) -> dict[str, float]:
        """How often each source has been gone through after so many steps."""
        rows = steps * self._rows * self._quota / CYCLE_ROWS
        passes = (rows / self._windows).tolist()
        return {name: round(value, 2) for name, value in zip(self._names, passes, strict=True)}

    def _order(self, source: int, number: int) -> np.ndarray:
        """The beginnings of a source's windows, in the order of one pass through it."""
        if self._order_of_source.get(source, (-1,))[0] != number:
            rng = np.random.default_rng([self._seed, 1 + source, number])
            shift = rng.integers(0, self._stride)
            order = shift + self._stride * rng.permutation(self._windows[source])
            self._order_of_source[source] = (number, order)
        return self._order_of_source[source][1]


def _round_shares(shares: list[float], total: int) -> np.ndarray:
    """Whole numbers that sum to `total`, in proportion to the shares, none of them zero."""
    wanted = np.array(shares) / sum(shares) * total
    counts = np.maximum(1, np.floor(wanted)).astype(np.int64)
    while counts.sum() < total:
        counts[np.argmax(wanted - counts)] += 1
    while counts.sum() > total:
        counts[np.argmax(counts)] -= 1
    return counts


class DeviceBatches:
    """All tokens on the device, and the batches gathered there.

    Only the rows' beginnings cross over from the host, those of many steps at once: a GPU takes a
    few milliseconds a step and must not wait for the host in each.
    """

    _STEPS_AT_ONCE = 64

    def __init__(
        self, training: Mapping[str, np.ndarray], plan: BatchPlan, window: int, device: torch.device
    ) -> None:
        joined = np.concatenate(list(training.values()))
        self._tokens_N = torch.from_numpy(joined).to(device)
        self._offsets_T = torch.arange(window, device=device)
        self._plan, self._device = plan, device
        self._first_step, self._starts_SB = -1, torch.empty(0, 0)

    def draw(self, step: int) -> torch.Tensor:
        """(B, T + 1) token ids of a step."""
        first = step - step % self._STEPS_AT_ONCE
        if first != self._first_step:
            steps = range(first, first + self._STEPS_AT_ONCE)
            starts = np.stack([self._plan.starts_of_step(number) for number in steps])
            self._first_step, self._starts_SB = first, torch.from_numpy(starts).to(self._device)
        starts_B = self._starts_SB[step - first]
        return self._tokens_N[starts_B[:, None] + self._offsets_T].long()
