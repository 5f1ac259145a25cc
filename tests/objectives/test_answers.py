"""The answers' log-probabilities against the definition, in float64, family by family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import build_model, relative_error
from verification.pairs import build_exact_model, make_pairs, plain_log_probs, plain_sums

from luthier.data.pair_batches import pack_pairs
from luthier.models.packed import PackedModel
from luthier.objectives.answers import compute_answer_log_probs

FAMILIES: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in ("gpt2", "gpt_neox", "gemma", "llama", "qwen2", "qwen3", "phi3")),
    ("mistral", {"sliding_window": 4}),
    ("llama", {"tie_word_embeddings": True}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
]


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
@pytest.mark.parametrize("shared", [True, False])
def test_log_probs_and_gradients_are_those_of_each_answer_alone(
    family: str, changes: dict[str, Any], shared: bool
) -> None:
    pairs = make_pairs()
    alone = build_exact_model(family, **changes)
    packed = PackedModel(build_exact_model(family, **changes))
    assert packed.shares_prompts
    weights = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.25], [2.0, -0.125]])
    expected = plain_sums(alone, pairs)
    (expected * weights).sum().backward()
    found = compute_answer_log_probs(packed, pack_pairs(pairs, shared=shared)).sums_S2
    (found * weights).sum().backward()
    assert relative_error(found, expected) < 1e-10
    gradients = dict(packed.causal.named_parameters())
    for name, parameter in alone.named_parameters():
        assert parameter.grad is not None
        if float(parameter.grad.abs().max()) > 1e-12:  # a key's bias has none: softmax ignores it
            found_gradient = gradients[name].grad
            assert found_gradient is not None, name
            assert relative_error(found_gradient, parameter.grad) < 1e-10, name


@pytest.mark.parametrize("family", ["gemma2", "cohere", "granite"])
def test_families_with_other_heads_or_attentions_give_the_same(family: str) -> None:
    pairs = make_pairs()
    packed = PackedModel(build_model(family))
    with torch.no_grad():
        expected = plain_sums(build_model(family), pairs)
        batch = pack_pairs(pairs, shared=packed.shares_prompts)
        found = compute_answer_log_probs(packed, batch).sums_S2
    assert relative_error(found, expected) < 2e-6


@pytest.mark.parametrize("shared", [True, False])
def test_the_prompts_own_tokens_are_labelled_once_a_pair_where_asked_for(shared: bool) -> None:
    pairs = make_pairs()
    model = build_model("qwen2")
    with torch.no_grad():
        expected = sum(
            plain_log_probs(model, pair.prompt_ids, pair.chosen_ids)[
                : len(pair.prompt_ids) - 1
            ].sum()
            for pair in pairs
        )
        batch = pack_pairs(pairs, shared=shared, prompt_labels=True)
        found = compute_answer_log_probs(PackedModel(model), batch)
        plain = plain_sums(build_model("qwen2"), pairs)
    assert len(batch.prompt_labels) == 4 + 0 + 8 + 2
    assert relative_error(found.prompt, torch.as_tensor(expected)) < 1e-12
    assert relative_error(found.sums_S2, plain) < 1e-12
