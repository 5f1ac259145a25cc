"""How many weights are trained, beside PEFT's own count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from plan_cases import make_workload
from tiny_models import build_model

from luthier.errors import PlanError
from luthier.plan.model.model_config import facts_from_config, read_facts
from luthier.plan.work.trainable import count_trainable

FAMILIES = ["gpt2", "gpt_neox", "gemma", "llama", "mistral", "qwen2", "qwen3", "phi3"]


def count(family: str, model: Any, **keys: Any) -> int:
    facts = facts_from_config(family, {**model.config.to_dict(), "model_type": family}, "")
    keys = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, **keys}
    return make_workload(facts, 16, **keys).trainable


def count_of_peft(model: Any, **settings: Any) -> int:
    peft: Any = get_peft_model(model, LoraConfig(r=4, task_type="CAUSAL_LM", **settings))
    return sum(p.numel() for p in peft.parameters() if p.requires_grad)


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_layers_count_as_pefts(family: str, dora: bool) -> None:
    model = build_model(family, dtype=torch.float32)
    ours = count(family, model, lora_target_linear=True, peft_use_dora=dora)
    assert ours == count_of_peft(model, target_modules="all-linear", use_dora=dora)


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("llama", ["q_proj", "v_proj"]),
        ("llama", ["down_proj", "lm_head"]),
        ("gpt2", ["c_attn"]),
        ("gpt2", ["c_proj"]),
        ("gpt_neox", ["query_key_value", "dense"]),
        ("phi3", ["qkv_proj", "gate_up_proj"]),
        ("qwen2", ["model.layers.1.self_attn.k_proj"]),
    ],
)
def test_named_layers_count_as_pefts(family: str, targets: list[str]) -> None:
    model = build_model(family, dtype=torch.float32)
    ours = count(family, model, lora_target_modules=targets)
    assert ours == count_of_peft(model, target_modules=targets)


def test_full_fine_tuning_trains_every_weight() -> None:
    facts = read_facts("openai-community/gpt2")
    assert make_workload(facts, 16).trainable == 124_439_808


def test_a_name_of_no_layer_is_refused_with_the_nearest() -> None:
    facts = read_facts("Qwen/Qwen2.5-7B")
    with pytest.raises(PlanError, match=r"q_prj.*Did you mean q_proj"):
        make_workload(
            facts, 16, adapter="lora", lora_r=4, lora_alpha=4, lora_target_modules=["q_prj"]
        )


def test_the_count_is_by_hand_rank_times_both_widths() -> None:
    facts = read_facts("meta-llama/Meta-Llama-3-8B")
    recipe = make_workload(
        facts,
        16,
        adapter="lora",
        lora_r=16,
        lora_alpha=16,
        lora_target_modules=["q_proj", "k_proj"],
    ).recipe
    assert count_trainable(recipe, facts) == 32 * 16 * (4096 + 4096 + 4096 + 1024)
