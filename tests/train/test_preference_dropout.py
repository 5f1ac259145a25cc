"""Preference training of a base model with dropout: it begins at its own reference."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from runs import LORA, make_recipe, read_losses, train
from tiny_models import save_base_model


@pytest.mark.parametrize("stored", [True, False])
def test_dpo_begins_at_log_two_for_a_model_with_dropout(stored: bool, tmp_path: Path) -> None:
    base = save_base_model(
        tmp_path / "base", "gpt2", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1
    )
    pairs = [
        {"prompt": f"Count on from {n}.", "chosen": f"{n + 1}", "rejected": f"{n}, {n - 1}"}
        for n in range(8)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    changes = {**LORA, "rl": "dpo", "precompute_ref_log_probs": stored, "max_steps": 1}
    source = {"path": str(data), "type": "preference"}
    recipe = make_recipe(base, data, **changes, datasets=[source])
    train(recipe, tmp_path / "out")
    assert read_losses(tmp_path / "out") == [pytest.approx(math.log(2), abs=1e-6)]
