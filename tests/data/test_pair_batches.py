"""How pairs lie in a packed row, on pairs small enough to read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from luthier.data.pair_batches import PairBatch, ScoredPair, pack_pairs
from luthier.data.pairs import TokenizedPair


def make_pair(prompt: list[int], chosen: list[int], rejected: list[int]) -> TokenizedPair:
    return TokenizedPair(
        "a", *(np.array(ids, dtype=np.int32) for ids in (prompt, chosen, rejected))
    )


def read_answers(batch: PairBatch) -> list[list[tuple[int, int]]]:
    """For each answer the (position, token) of its labels."""
    places = batch.row.label_positions[batch.answer_labels].tolist()
    tokens = batch.row.targets[batch.answer_labels].tolist()
    labels = iter(zip(places, tokens, strict=True))
    return [[next(labels) for _ in range(count)] for count in batch.answer_tokens]


def test_answers_stand_behind_one_prompt_and_both_go_on_where_it_ends() -> None:
    batch = pack_pairs([make_pair([10, 11, 12], [20, 21], [30])], shared=True)
    assert batch.row.input_ids.tolist() == [[10, 11, 12, 20, 21, 30]]
    assert batch.row.position_ids.tolist() == [[0, 1, 2, 3, 4, 3]]
    assert batch.lengths == (3, 2, 1)
    assert batch.branches == 2
    # The prompt's last token predicts the first token of both.
    assert read_answers(batch) == [[(2, 20), (3, 21)], [(2, 30)]]


def test_what_the_answers_begin_with_stands_in_the_row_once() -> None:
    batch = pack_pairs([make_pair([10, 11], [20, 21, 22], [20, 21, 32, 33])], shared=True)
    assert batch.row.input_ids.tolist() == [[10, 11, 20, 21, 22, 32, 33]]
    assert batch.row.position_ids.tolist() == [[0, 1, 2, 3, 4, 4, 5]]
    assert batch.lengths == (4, 1, 2)
    assert read_answers(batch) == [
        [(1, 20), (2, 21), (3, 22)],
        [(1, 20), (2, 21), (3, 32), (5, 33)],
    ]
    assert len(batch.row.targets) == 5  # the common ones are labelled once


def test_an_answer_that_begins_the_other_keeps_its_last_token() -> None:
    batch = pack_pairs([make_pair([10], [20, 21], [20, 21, 22])], shared=True)
    assert batch.lengths == (2, 1, 2)
    assert read_answers(batch) == [[(0, 20), (1, 21)], [(0, 20), (1, 21), (3, 22)]]


def test_equal_answers_are_laid_out_too() -> None:
    batch = pack_pairs([make_pair([10], [20, 21], [20, 21])], shared=True)
    assert read_answers(batch) == [[(0, 20), (1, 21)], [(0, 20), (1, 21)]]


def test_unshared_each_answer_is_an_example_of_its_own() -> None:
    batch = pack_pairs([make_pair([10, 11], [20, 21], [20])], shared=False)
    assert batch.row.input_ids.tolist() == [[10, 11, 20, 21, 10, 11, 20]]
    assert batch.row.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert batch.lengths == (4, 3)
    assert batch.branches == 0
    assert read_answers(batch) == [[(1, 20), (2, 21)], [(5, 20)]]


@pytest.mark.parametrize("shared", [True, False])
def test_a_second_pair_starts_where_the_first_ends(shared: bool) -> None:
    first, second = make_pair([10], [20], [30, 31]), make_pair([11, 12], [21, 22], [40])
    batch = pack_pairs([first, second], shared=shared, prompt_labels=True)
    assert [[token for _, token in answer] for answer in read_answers(batch)] == [
        [20], [30, 31], [21, 22], [40],
    ]  # fmt: skip
    ids = batch.row.input_ids[0]
    first_tokens = [
        (int(ids[place]), token) for place, token in (a[0] for a in read_answers(batch))
    ]
    assert first_tokens == [(10, 20), (10, 30), (12, 21), (12, 40)]
    assert batch.row.targets[batch.prompt_labels].tolist() == [12]
    assert ids[batch.row.label_positions[batch.prompt_labels]].tolist() == [11]


def test_reference_log_probs_come_along_and_move_with_the_batch() -> None:
    pair = make_pair([10], [20], [30, 31])
    scored = ScoredPair(pair, -1.5, -2.5)
    batch = pack_pairs([scored, scored], shared=True).to(torch.device("cpu"))
    assert batch.reference_S2 is not None
    assert batch.reference_S2.tolist() == [[-1.5, -2.5]] * 2
    assert pack_pairs([pair], shared=True).reference_S2 is None
    assert (scored.tokens, scored.supervised_tokens, scored.id) == (4, 3, "a")
