"""Dropout switched off: in layers, in numbers of layers and in configurations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import build_model

from luthier.models.dropout import switch_dropout_off

IDS = torch.arange(3, 40)[None]
# Families that read it from an nn.Dropout, from the layer, and from the configuration.
WITH_DROPOUT: dict[str, dict[str, Any]] = {
    "gpt2": {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1},
    "qwen2": {"attention_dropout": 0.3},
    "gpt_neox": {"hidden_dropout": 0.2, "attention_dropout": 0.2},
}


@pytest.mark.parametrize("family", WITH_DROPOUT)
def test_a_model_in_training_mode_answers_as_in_evaluation(family: str) -> None:
    model = build_model(family, **WITH_DROPOUT[family])
    with torch.no_grad():
        expected = model(IDS).logits
        assert not torch.allclose(model.train()(IDS).logits, expected)
        assert switch_dropout_off(model)
        assert torch.equal(model(IDS).logits, expected)
    assert not switch_dropout_off(model)


def test_a_model_that_reads_it_from_its_configuration_in_each_step_is_reached() -> None:
    from transformers import FalconConfig, FalconForCausalLM

    config = FalconConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        hidden_dropout=0.4, attention_dropout=0.4,
    )  # fmt: skip
    model = FalconForCausalLM(config).train()
    assert switch_dropout_off(model)
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, model(IDS).logits)
