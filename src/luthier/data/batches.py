"""Padding-free batches, and which examples stand in which batch.

Shapes: `T` all tokens of a micro-batch, `N` its supervised tokens, `S` its examples.

The examples of a micro-batch are laid end to end in one row. Positions restart at each example,
and attention, labels and positions never cross from one to the next.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from luthier.seeding import derive_seed


class TokenizedExample(NamedTuple):
    id: str
    input_ids: np.ndarray  # (length,) int32
    loss_mask: np.ndarray  # (length,) bool: True where the token is supervised

    @property
    def tokens(self) -> int:
        """How many tokens it takes in a row."""
        return len(self.input_ids)

    @property
    def sequence_tokens(self) -> int:
        """What a model must be able to read at once."""
        return len(self.input_ids)

    @property
    def supervised_tokens(self) -> int:
        # The first token has no predecessor to predict it from.
        return int(self.loss_mask[1:].sum())


class PackedBatch(NamedTuple):
    input_ids: Tensor  # (1, T) int64
    position_ids: Tensor  # (1, T) int64, restarts at each example
    label_positions: Tensor  # (N,) int64: where a supervised next token is predicted
    targets: Tensor  # (N,) int64: that token
    lengths: tuple[int, ...]  # (S,) tokens of each example

    def to(self, device: torch.device) -> PackedBatch:
        return PackedBatch(
            self.input_ids.to(device),
            self.position_ids.to(device),
            self.label_positions.to(device),
            self.targets.to(device),
            self.lengths,
        )


def pack(examples: Sequence[TokenizedExample]) -> PackedBatch:
    """Lay examples end to end."""
    positions: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    start = 0
    for example in examples:
        length = len(example.input_ids)
        positions.append(np.arange(length))
        labels.append(np.flatnonzero(example.loss_mask[1:]) + start)
        start += length
    input_ids = np.concatenate([example.input_ids for example in examples]).astype(np.int64)
    label_positions = np.concatenate(labels)
    return PackedBatch(
        torch.from_numpy(input_ids).unsqueeze(0),
        torch.from_numpy(np.concatenate(positions)).unsqueeze(0),
        torch.from_numpy(label_positions),
        torch.from_numpy(input_ids[label_positions + 1]),
        tuple(len(example.input_ids) for example in examples),
    )


class BatchPlan:
    """Which examples each micro-batch of each optimizer step holds: a function of the seed alone.

    Args:
        lengths: tokens of each example.
        micro_batch_size: examples of a micro-batch; with `sample_packing`, full rows of
            `sequence_len` tokens instead.
        accumulation: micro-batches of one optimizer step, over all processes.
        group_by_length: examples of like length share a batch (within a shuffled window).
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        micro_batch_size: int,
        accumulation: int,
        seed: int,
        sequence_len: int,
        sample_packing: bool = False,
        group_by_length: bool = False,
    ) -> None:
        self._lengths = lengths
        self._micro_batch_size = micro_batch_size
        self._accumulation = accumulation
        self._seed = seed
        self._budget_tokens = micro_batch_size * sequence_len if sample_packing else None
        self._group_by_length = group_by_length
        self._epoch_cache: tuple[int, list[list[int]]] | None = None
        self.micro_batches_per_epoch = len(self._order_epoch(0))

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.micro_batches_per_epoch // self._accumulation)

    def micro_batches_of_step(self, step: int) -> list[list[int]]:
        """Example indices of each micro-batch of optimizer step `step` (0-based)."""
        epoch, within = divmod(step, self.steps_per_epoch)
        batches = self._epoch(epoch)
        first = within * self._accumulation
        return batches[first : first + self._accumulation]

    def longest_micro_batch(self) -> list[int]:
        """The micro-batch of the first epoch with the most tokens."""
        return max(self._epoch(0), key=lambda batch: sum(self._lengths[i] for i in batch))

    def _epoch(self, epoch: int) -> list[list[int]]:
        if self._epoch_cache is None or self._epoch_cache[0] != epoch:
            self._epoch_cache = (epoch, self._order_epoch(epoch))
        return self._epoch_cache[1]

    def _order_epoch(self, epoch: int) -> list[list[int]]:
        # Rows are filled once and only their order changes from epoch to epoch: filling anew would
        # change their number by the luck of the shuffle, and steps could not be counted beforehand.
        filled = self._budget_tokens is not None
        order = self._shuffled(0 if filled else epoch)
        if self._group_by_length:
            order = list(self._grouped(order))
        if self._budget_tokens is not None:
            batches = self._filled(order, self._budget_tokens)
        else:
            size = self._micro_batch_size
            batches = [order[i : i + size] for i in range(0, len(order), size)]
        if self._group_by_length or filled:
            random.Random(derive_seed("batches", self._seed, epoch)).shuffle(batches)
        return batches

    def _shuffled(self, epoch: int) -> list[int]:
        order = list(range(len(self._lengths)))
        random.Random(derive_seed("order", self._seed, epoch)).shuffle(order)
        return order

    def _grouped(self, order: list[int]) -> Iterator[int]:
        window = self._micro_batch_size * 50
        for start in range(0, len(order), window):
            yield from sorted(order[start : start + window], key=lambda i: -self._lengths[i])

    def _filled(self, order: list[int], budget_tokens: int) -> list[list[int]]:
        """Fill micro-batches up to the budget, in order, each example into the first that fits."""
        open_batches: list[tuple[int, list[int]]] = []
        closed: list[list[int]] = []
        for index in order:
            length = self._lengths[index]
            for place, (used, batch) in enumerate(open_batches):
                if used + length <= budget_tokens:
                    batch.append(index)
                    open_batches[place] = (used + length, batch)
                    break
            else:
                open_batches.append((length, [index]))
                if len(open_batches) > 8:
                    fullest = max(range(8), key=lambda i: open_batches[i][0])
                    closed.append(open_batches.pop(fullest)[1])
        return closed + [batch for _, batch in open_batches]
