"""Rows filled up to even numbers: nothing else changes, and a run stops growing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import build_model

from luthier.data.batches import PackedBatch
from luthier.models.even_rows import (
    EVEN_ROWS,
    even_linear,
    even_outer,
    even_product,
    fill_row,
)
from luthier.models.packed import PackedModel


def make_row(*lengths: int) -> PackedBatch:
    tokens = sum(lengths)
    ids = torch.arange(tokens)[None] % 90 + 3
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    labels = torch.arange(0, tokens, 2)
    return PackedBatch(ids, positions, labels, ids[0, labels], lengths)


@pytest.mark.parametrize("lengths", [(3, 5), (40, 23), (64,), (64, 64), (100, 29)])
@pytest.mark.parametrize("branches", [0, 2])
def test_a_filled_row_has_even_numbers_and_begins_as_it_was(
    lengths: tuple[int, ...], branches: int
) -> None:
    row = make_row(*lengths)
    filled = fill_row(row, branches)
    tokens = sum(lengths)
    assert filled.input_ids.shape[1] % EVEN_ROWS == 0
    assert len(filled.label_positions) % EVEN_ROWS == 0
    assert sum(filled.lengths) == filled.input_ids.shape[1]
    assert filled.lengths[: len(lengths)] == lengths
    assert torch.equal(filled.input_ids[:, :tokens], row.input_ids)
    assert torch.equal(filled.position_ids[:, :tokens], row.position_ids)
    assert torch.equal(filled.label_positions[: len(row.label_positions)], row.label_positions)
    # The filling is one group more: a trunk and its branches, each of at least one token.
    added = filled.lengths[len(lengths) :]
    assert len(added) in (0, 1 + branches)
    assert all(length > 0 for length in added)


@pytest.mark.parametrize("family", ["qwen2", "gpt2", "gemma"])
def test_the_filling_changes_no_hidden_state(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PackedModel(build_model(family, dtype=torch.float32)).eval()
    row = make_row(7, 12, 30)
    plain = model.hidden_states(row)
    monkeypatch.setattr("luthier.models.packed.compiles_by_shape", lambda _: True)
    filled = model.hidden_states(row)
    assert filled.shape == plain.shape
    torch.testing.assert_close(filled, plain, rtol=1e-5, atol=1e-5)


def test_the_filling_changes_no_hidden_state_of_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = PackedModel(build_model("qwen2", dtype=torch.float32)).eval()
    assert model.shares_prompts
    ids = torch.arange(18)[None] % 90 + 3
    one = [*range(6), *range(4, 7)]
    labels = torch.arange(18)
    row = PackedBatch(ids, torch.tensor([one * 2]), labels, ids[0], (4, 2, 3) * 2)
    plain = model.hidden_states(row, branches=2)
    monkeypatch.setattr("luthier.models.packed.compiles_by_shape", lambda _: True)
    torch.testing.assert_close(model.hidden_states(row, branches=2), plain, rtol=1e-5, atol=1e-5)


def test_products_of_a_bfloat16_run_have_even_rows_and_float32_ones_are_left_alone() -> None:
    causal = build_model("qwen2", dtype=torch.float32)
    model = PackedModel(causal)
    seen: list[int] = []

    def watch(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0].shape[-2])

    for module in causal.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(watch)
    row = make_row(50, 37)
    with torch.autocast("cpu", torch.bfloat16):
        model.hidden_states(row)
    assert seen
    assert all(rows % EVEN_ROWS == 0 for rows in seen)
    seen.clear()
    model.hidden_states(row)
    assert 87 in seen


@pytest.mark.parametrize("rows", [1, 63, 64, 70])
def test_filled_products_equal_plain_ones(rows: int) -> None:
    torch.manual_seed(0)
    x_CI = torch.randn(rows, 8).bfloat16()
    weight_OI, bias_O = torch.randn(6, 8).bfloat16(), torch.randn(6).bfloat16()
    other_CO = torch.randn(rows, 6).bfloat16()
    plain = x_CI.double() @ weight_OI.double().T + bias_O.double()
    close = {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(even_linear(x_CI, weight_OI, bias_O).double(), plain, **close)
    turned = x_CI.double() @ weight_OI.double().T
    found = even_product(x_CI, weight_OI.T.contiguous())
    torch.testing.assert_close(found.double(), turned, **close)
    outer = other_CO.double().T @ x_CI.double()
    torch.testing.assert_close(even_outer(other_CO, x_CI).double(), outer, rtol=2e-2, atol=0.1)
