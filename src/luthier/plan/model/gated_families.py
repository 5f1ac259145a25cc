"""Families with gated feed-forward blocks and rotary positions: Llama's kin.

Where a key is optional, the default is that of the family's configuration class in transformers.
"""

from __future__ import annotations

from luthier.plan.model.config_keys import ConfigKeys
from luthier.plan.model.layer_shapes import (
    build_facts,
    gated_feed_forward,
    list_experts,
    read_attention,
    separate_attention,
)
from luthier.plan.model.model_facts import Linear, ModelFacts


def read_llama(keys: ConfigKeys) -> ModelFacts:
    """Llama and what has its layers: Mistral, Granite, SmolLM3."""
    shape, inside = read_attention(keys), keys.whole("intermediate_size")
    bias = keys.flag("attention_bias", False)
    linears = separate_attention(shape, bias, bias)
    linears += gated_feed_forward(shape.width, inside, keys.flag("mlp_bias", False))
    return build_facts(
        keys,
        shape,
        linears,
        layers=keys.whole("num_hidden_layers"),
        ffn_width=inside,
        norms_in_layer=2,
        tied=keys.values.get("model_type") == "smollm3",
    )


def read_qwen2(keys: ConfigKeys) -> ModelFacts:
    """Qwen2 and Qwen2.5: biases on queries, keys and values."""
    shape, inside = read_attention(keys), keys.whole("intermediate_size")
    linears = separate_attention(shape, input_bias=True)
    return build_facts(
        keys,
        shape,
        linears + gated_feed_forward(shape.width, inside),
        layers=keys.whole("num_hidden_layers"),
        ffn_width=inside,
        norms_in_layer=2,
        tied=False,
    )


def read_qwen3(keys: ConfigKeys) -> ModelFacts:
    """Qwen3: a norm on the queries and one on the keys of each head."""
    shape, inside = read_attention(keys, head_width=128), keys.whole("intermediate_size")
    bias = keys.flag("attention_bias", False)
    return build_facts(
        keys,
        shape,
        separate_attention(shape, bias, bias) + gated_feed_forward(shape.width, inside),
        layers=keys.whole("num_hidden_layers"),
        ffn_width=inside,
        norms_in_layer=2,
        tied=False,
        head_norms=2,
    )


def read_mixtral(keys: ConfigKeys) -> ModelFacts:
    """Mixtral: experts instead of the feed-forward block."""
    shape, inside = read_attention(keys), keys.whole("intermediate_size")
    experts = list_experts(
        shape.width,
        inside,
        keys.whole("num_local_experts", "num_experts"),
        keys.whole("num_experts_per_tok"),
    )
    return build_facts(
        keys,
        shape,
        separate_attention(shape) + experts,
        layers=keys.whole("num_hidden_layers"),
        ffn_width=inside,
        norms_in_layer=2,
        tied=False,
    )


def _refuse_mixed_layers(keys: ConfigKeys) -> None:
    if keys.values.get("mlp_only_layers"):
        raise keys.refuse("mlp_only_layers", "its layers are not alike.")
    if keys.whole("decoder_sparse_step", default=1) != 1:
        raise keys.refuse("decoder_sparse_step", "its layers are not alike.")


def _read_experts(keys: ConfigKeys, width: int) -> tuple[Linear, ...]:
    _refuse_mixed_layers(keys)
    return list_experts(
        width,
        keys.whole("moe_intermediate_size"),
        keys.whole("num_experts", "num_local_experts"),
        keys.whole("num_experts_per_tok"),
    )


def read_qwen2_moe(keys: ConfigKeys) -> ModelFacts:
    """Qwen2 with experts, and one that every token passes."""
    shape = read_attention(keys)
    linears = separate_attention(shape, input_bias=keys.flag("qkv_bias", True))
    linears += _read_experts(keys, shape.width)
    linears += gated_feed_forward(shape.width, keys.whole("shared_expert_intermediate_size"))
    linears += (Linear("shared_expert_gate", shape.width, 1),)
    return build_facts(
        keys,
        shape,
        linears,
        layers=keys.whole("num_hidden_layers"),
        ffn_width=keys.whole("moe_intermediate_size"),
        norms_in_layer=2,
        tied=False,
    )


def read_qwen3_moe(keys: ConfigKeys) -> ModelFacts:
    """Qwen3 with experts."""
    shape = read_attention(keys)
    bias = keys.flag("attention_bias", False)
    return build_facts(
        keys,
        shape,
        separate_attention(shape, bias, bias) + _read_experts(keys, shape.width),
        layers=keys.whole("num_hidden_layers"),
        ffn_width=keys.whole("moe_intermediate_size"),
        norms_in_layer=2,
        tied=False,
        head_norms=2,
    )


def read_gemma(keys: ConfigKeys, norms_in_layer: int = 2, head_norms: int = 0) -> ModelFacts:
    """Gemma; its successors have more norms."""
    shape, inside = read_attention(keys, head_width=256), keys.whole("intermediate_size")
    bias = keys.flag("attention_bias", False)
    return build_facts(
        keys,
        shape,
        separate_attention(shape, bias, bias) + gated_feed_forward(shape.width, inside),
        layers=keys.whole("num_hidden_layers"),
        ffn_width=inside,
        norms_in_layer=norms_in_layer,
        tied=True,
        head_norms=head_norms,
    )


def read_gemma2(keys: ConfigKeys) -> ModelFacts:
    """Gemma 2: norms before and after both blocks."""
    return read_gemma(keys, norms_in_layer=4)


def read_gemma3(keys: ConfigKeys) -> ModelFacts:
    """Gemma 3's text: Gemma 2 with norms on queries and keys."""
    # Published configurations of the larger sizes leave out what equals the class's default.
    filled = {"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262_208}
    return read_gemma(ConfigKeys(keys.model, {**filled, **keys.values}), 4, head_norms=2)


def read_phi3(keys: ConfigKeys) -> ModelFacts:
    """Phi-3 and Phi-4: Llama with its inputs fused."""
    shape, inside = read_attention(keys), keys.whole("intermediate_size")
    linears = (
        Linear("qkv_proj", shape.width, shape.queries + 2 * shape.keys),
        Linear("o_proj", shape.queries, shape.width),
        Linear("gate_up_proj", shape.width, 2 * inside),
        Linear("down_proj", inside, shape.width),
    )
    return build_facts(
        keys,
        shape,
        linears,
        layers=keys.whole("num_hidden_layers"),
        ffn_width=inside,
        norms_in_layer=2,
        tied=False,
    )
