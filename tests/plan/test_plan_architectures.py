"""Facts worked out from a configuration, against the model that transformers builds from it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from luthier.errors import PlanError
from luthier.plan.model.architectures import FAMILIES, facts_from_config

# Odd numbers, so that no two widths are equal by accident.
ATTENTION = {"hidden_size": 48, "num_attention_heads": 6, "num_hidden_layers": 3}
GROUPED = ATTENTION | {"num_key_value_heads": 2, "vocab_size": 101}
GATED = GROUPED | {"intermediate_size": 80}
WIDE_HEADS = GATED | {"head_dim": 14}
EXPERTS = WIDE_HEADS | {"moe_intermediate_size": 20, "num_experts": 7, "num_experts_per_tok": 3}
GPT = {"n_embd": 48, "n_head": 6, "n_layer": 3, "n_positions": 33, "vocab_size": 101}

CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("gemma", WIDE_HEADS),
    ("gemma", {key: value for key, value in WIDE_HEADS.items() if key != "head_dim"}),
    ("gemma2", WIDE_HEADS),
    ("gemma3_text", WIDE_HEADS),
    ("gpt2", GPT),
    ("gpt2", GPT | {"n_inner": 100}),
    ("gpt_bigcode", GPT),
    ("gpt_bigcode", GPT | {"multi_query": False}),
    (
        "gpt_neo",
        {
            "hidden_size": 48,
            "num_heads": 6,
            "num_layers": 2,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 33,
            "vocab_size": 101,
        },
    ),
    ("gpt_neox", ATTENTION | {"intermediate_size": 100, "vocab_size": 101}),
    ("gpt_neox", GATED | {"attention_bias": False, "tie_word_embeddings": True}),
    ("granite", GATED | {"tie_word_embeddings": True}),
    ("llama", GATED),
    ("llama", WIDE_HEADS | {"tie_word_embeddings": True}),
    ("llama", GATED | {"attention_bias": True, "mlp_bias": True}),
    ("llama", ATTENTION | {"intermediate_size": 80, "vocab_size": 101}),
    ("mistral", WIDE_HEADS),
    ("mixtral", WIDE_HEADS | {"num_local_experts": 5, "num_experts_per_tok": 2}),
    (
        "opt",
        ATTENTION
        | {
            "ffn_dim": 100,
            "word_embed_proj_dim": 48,
            "max_position_embeddings": 33,
            "vocab_size": 101,
        },
    ),
    ("phi3", GATED | {"pad_token_id": 0}),
    ("qwen2", GATED | {"tie_word_embeddings": True}),
    ("qwen2_moe", EXPERTS | {"shared_expert_intermediate_size": 24}),
    ("qwen3", WIDE_HEADS),
    ("qwen3_moe", EXPERTS),
    ("smollm3", GATED | {"pad_token_id": 0}),
]


def build_on_meta(family: str, values: dict[str, Any]) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **values))


def read_facts_of(family: str, values: dict[str, Any]) -> Any:
    return facts_from_config("a-model", {"model_type": family} | values, "a test")


@pytest.mark.parametrize(("family", "values"), CONFIGS)
def test_the_count_of_parameters_is_that_of_the_model_that_transformers_builds(
    family: str, values: dict[str, Any]
) -> None:
    model = build_on_meta(family, values)
    facts = read_facts_of(family, values)
    assert facts.parameters == model.num_parameters()
    assert facts.layers == model.config.num_hidden_layers
    assert facts.width == model.config.hidden_size
    assert facts.tied_head is model.config.tie_word_embeddings


@pytest.mark.parametrize(("family", "values"), CONFIGS)
def test_every_linear_module_of_a_layer_is_listed_by_name_and_shape(
    family: str, values: dict[str, Any]
) -> None:
    model = build_on_meta(family, values)
    modules = Counter(
        (name.rpartition(".")[2], *shape_of(module), has_bias(module))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module is not model.get_output_embeddings()
    )
    facts = read_facts_of(family, values)
    listed = Counter(
        (item.name, item.inputs, item.outputs, item.bias)
        for item in facts.linears
        for _ in range(item.copies * facts.layers)
        if item.is_module
    )
    assert listed == modules


def has_bias(module: Any) -> bool:
    return module.bias is not None


def shape_of(module: Any) -> tuple[int, int]:
    first, second = module.weight.shape
    # Conv1D keeps its weight the other way round.
    return (first, second) if isinstance(module, Conv1D) else (second, first)


def test_every_family_is_compared_with_transformers() -> None:
    assert {family for family, _ in CONFIGS} == set(FAMILIES)


def test_a_token_passes_through_the_chosen_experts_only() -> None:
    values = GROUPED | {"intermediate_size": 80, "num_local_experts": 5, "num_experts_per_tok": 2}
    facts = read_facts_of("mixtral", values)
    unused_experts = 3 * 3 * (48 * 160 + 80 * 48)
    embedding_and_norms = 101 * 48 + (3 * 2 + 1) * 48
    assert facts.active_parameters == facts.parameters - unused_experts - embedding_and_norms


def test_layers_that_are_not_alike_are_refused() -> None:
    with pytest.raises(PlanError, match=r"mlp_only_layers is \[0\]"):
        read_facts_of("qwen3_moe", EXPERTS | {"mlp_only_layers": [0]})


def test_an_unknown_family_is_named_with_the_nearest_and_the_flag() -> None:
    with pytest.raises(PlanError, match=r"'qwen4'.*qwen3.*--model-config FILE"):
        read_facts_of("qwen4", GATED)


def test_a_missing_key_is_named() -> None:
    values = {key: value for key, value in GATED.items() if key != "intermediate_size"}
    with pytest.raises(PlanError, match=r"config.json of a-model lacks intermediate_size"):
        read_facts_of("qwen2", values)


def test_a_value_that_is_no_number_is_named() -> None:
    with pytest.raises(PlanError, match="hidden_size is '48', not a positive whole number"):
        read_facts_of("qwen2", GATED | {"hidden_size": "48"})


def test_of_a_model_for_text_and_images_the_part_for_text_is_taken_and_said() -> None:
    text = WIDE_HEADS | {"model_type": "gemma3_text"}
    config = {"model_type": "gemma3", "torch_dtype": "bfloat16", "text_config": text}
    facts = facts_from_config("a-model", config, "a test")
    assert facts.parameters == read_facts_of("gemma3_text", WIDE_HEADS).parameters
    assert facts.source == "a test, the part for text alone"
    assert facts.weights_dtype == "bfloat16"
