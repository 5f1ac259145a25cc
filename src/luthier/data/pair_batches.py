"""Padding-free batches of preference pairs.

Shapes: `T` tokens of the row, `N` labels, `S` pairs, `A` tokens of all answers, `K` prompt labels.

Where the attention allows it, what both answers of a pair begin with stands in the row once:

    [trunk][rest of chosen][rest of rejected]     trunk = prompt + what the answers have in common

Both rests attend to the trunk and to themselves, and both go on with the position where the trunk
ends. Elsewhere each answer stands with a prompt of its own, as two examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from luthier.data.batches import PackedBatch
from luthier.data.pairs import TokenizedPair

ANSWERS = 2


class ScoredPair(NamedTuple):
    """A pair with the reference model's log p(answer | prompt) in nats."""

    pair: TokenizedPair
    chosen_log_prob: float
    rejected_log_prob: float

    @property
    def id(self) -> str:
        return self.pair.id

    @property
    def tokens(self) -> int:
        return self.pair.tokens

    @property
    def sequence_tokens(self) -> int:
        return self.pair.sequence_tokens

    @property
    def supervised_tokens(self) -> int:
        return self.pair.supervised_tokens


PreferencePair = TokenizedPair | ScoredPair


class PairBatch(NamedTuple):
    """Pairs in one packed row.

    Attributes:
        row: the tokens; a label for each token whose probability matters, none twice.
        branches: how many branches follow each trunk among `row.lengths`; 0 where each answer
            stands with its own prompt.
        answer_labels: (A,) the labels of chosen 1, rejected 1, chosen 2, … one after the other.
        answer_tokens: (2S,) how many each of them has.
        prompt_labels: (K,) the labels of the prompts' own tokens; empty where not asked for.
        reference_S2: the reference's log-probabilities of chosen and rejected, where known.
    """

    row: PackedBatch
    branches: int
    answer_labels: Tensor
    answer_tokens: tuple[int, ...]
    prompt_labels: Tensor
    reference_S2: Tensor | None

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each part of the row; whole examples where `branches` is 0."""
        return self.row.lengths

    @property
    def answer_tokens_S2(self) -> Tensor:
        """How many tokens chosen and rejected of each pair have, on the batch's device."""
        counts = torch.tensor(self.answer_tokens, device=self.answer_labels.device)
        return counts.unflatten(0, (-1, 2))

    def to(self, device: torch.device) -> PairBatch:
        return self._replace(
            row=self.row.to(device),
            answer_labels=self.answer_labels.to(device),
            prompt_labels=self.prompt_labels.to(device),
            reference_S2=None if self.reference_S2 is None else self.reference_S2.to(device),
        )


def pack_pairs(
    pairs: Sequence[PreferencePair], *, shared: bool, prompt_labels: bool = False
) -> PairBatch:
    """Lay pairs end to end.

    Args:
        shared: lay what both answers begin with once; only for a model whose `shares_prompts` says
            so, and not with NEFTune, whose noise is that of one example.
        prompt_labels: label the tokens of the prompts too, as ORPO's likelihood term may.
    """
    layouts: list[_Layout] = []
    tokens = labels = 0
    for pair in pairs:
        layout = _lay_out(unscored(pair), tokens, labels, shared, prompt_labels)
        tokens += len(layout.input_ids)
        labels += len(layout.targets)
        layouts.append(layout)
    row = PackedBatch(
        _join([layout.input_ids for layout in layouts]).unsqueeze(0),
        _join([layout.positions for layout in layouts]).unsqueeze(0),
        _join([layout.label_positions for layout in layouts]),
        _join([layout.targets for layout in layouts]),
        tuple(length for layout in layouts for length in layout.lengths),
    )
    return PairBatch(
        row,
        ANSWERS if shared else 0,
        _join([layout.answer_labels for layout in layouts]),
        tuple(count for layout in layouts for count in layout.answer_tokens),
        _join([layout.prompt_labels for layout in layouts]),
        _stack_reference(pairs),
    )


class _Layout(NamedTuple):
    """One pair's part of the row; positions of tokens and labels count from the row's start."""

    input_ids: np.ndarray
    positions: np.ndarray
    lengths: tuple[int, ...]
    label_positions: np.ndarray
    targets: np.ndarray
    answer_labels: np.ndarray
    answer_tokens: tuple[int, int]
    prompt_labels: np.ndarray


def _lay_out(
    pair: TokenizedPair, start: int, first_label: int, shared: bool, prompt_labels: bool
) -> _Layout:
    prompt, chosen, rejected = pair.prompt_ids, pair.chosen_ids, pair.rejected_ids
    assert len(prompt) > 0, f"pair {pair.id}: no token from which to predict the answers"
    assert min(len(chosen), len(rejected)) > 0, f"pair {pair.id}: an answer without tokens"
    P, C, R = len(prompt), len(chosen), len(rejected)
    common = _count_common(chosen, rejected) if shared else 0
    trunk = P + common if shared else 0
    # The conversation with the rejected answer: its first `trunk` tokens are the other one's.
    rejected_row = np.concatenate([np.arange(trunk), np.arange(P + R - trunk) + P + C])
    own_prompt = prompt[trunk:]
    # The rejected answer's labels in the trunk are the chosen one's: same place, same token.
    label_positions = np.concatenate(
        [np.arange(P - 1, P + C - 1), rejected_row[P - 1 + common : P + R - 1]]
    )
    targets = np.concatenate([chosen, rejected[common:]])
    answers = C + R - common
    if prompt_labels:
        label_positions = np.concatenate([label_positions, np.arange(P - 1)])
        targets = np.concatenate([targets, prompt[1:]])
    return _Layout(
        np.concatenate([prompt, chosen, own_prompt, rejected[common:]]),
        np.concatenate([np.arange(P + C), np.arange(trunk, P + R)]),
        (trunk, P + C - trunk, P + R - trunk) if shared else (P + C, P + R),
        label_positions + start,
        targets,
        np.concatenate([np.arange(C), np.arange(common), np.arange(C, answers)]) + first_label,
        (C, R),
        np.arange(answers, len(targets)) + first_label,
    )


def _count_common(chosen: np.ndarray, rejected: np.ndarray) -> int:
    """Tokens that both answers begin with, leaving each at least one of its own."""
    shortest = min(len(chosen), len(rejected)) - 1
    different = np.flatnonzero(chosen[:shortest] != rejected[:shortest])
    return int(different[0]) if len(different) else shortest


def _stack_reference(pairs: Sequence[PreferencePair]) -> Tensor | None:
    scores = [
        (pair.chosen_log_prob, pair.rejected_log_prob)
        for pair in pairs
        if isinstance(pair, ScoredPair)
    ]
    assert len(scores) in (0, len(pairs)), "some pairs have reference log-probabilities, some not"
    return torch.tensor(scores) if scores else None


def unscored(pair: PreferencePair) -> TokenizedPair:
    """The pair itself."""
    return pair.pair if isinstance(pair, ScoredPair) else pair


def _join(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays).astype(np.int64))
