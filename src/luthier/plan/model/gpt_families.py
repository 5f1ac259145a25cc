"""Families with plain feed-forward blocks and biases: GPT's kin.

Where a key is optional, the default is that of the family's configuration class in transformers.
"""

from __future__ import annotations

from luthier.plan.model.config_keys import ConfigKeys
from luthier.plan.model.layer_shapes import Attention, build_facts, read_attention
from luthier.plan.model.model_facts import Linear, ModelFacts


def read_gpt2(keys: ConfigKeys) -> ModelFacts:
    """GPT-2."""
    width, heads = keys.whole("n_embd", "hidden_size"), keys.whole("n_head", "num_attention_heads")
    return _build_gpt2(keys, Attention(width, heads, heads, width // heads))


def read_gpt_bigcode(keys: ConfigKeys) -> ModelFacts:
    """SantaCoder and StarCoder: GPT-2 with one key and value head for all."""
    width, heads = keys.whole("n_embd", "hidden_size"), keys.whole("n_head", "num_attention_heads")
    kv_heads = 1 if keys.flag("multi_query", True) else heads
    return _build_gpt2(keys, Attention(width, heads, kv_heads, width // heads))


def _build_gpt2(keys: ConfigKeys, shape: Attention) -> ModelFacts:
    inside = keys.whole("n_inner", default=4 * shape.width)
    linears = (
        Linear("c_attn", shape.width, shape.queries + 2 * shape.keys, bias=True),
        Linear("c_proj", shape.queries, shape.width, bias=True),
        Linear("c_fc", shape.width, inside, bias=True),
        Linear("c_proj", inside, shape.width, bias=True),
    )
    return build_facts(
        keys,
        shape,
        linears,
        layers=keys.whole("n_layer", "num_hidden_layers"),
        ffn_width=inside,
        norms_in_layer=2,
        tied=True,
        norm_biases=True,
        positions=keys.whole("n_positions", "max_position_embeddings"),
        gated=False,
    )


def read_gpt_neox(keys: ConfigKeys) -> ModelFacts:
    """GPT-NeoX and Pythia: rotary positions, a head of its own."""
    shape, inside = read_attention(keys), keys.whole("intermediate_size")
    bias = keys.flag("attention_bias", True)
    linears = (
        Linear("query_key_value", shape.width, 3 * shape.queries, bias),
        Linear("dense", shape.queries, shape.width, bias),
        Linear("dense_h_to_4h", shape.width, inside, bias=True),
        Linear("dense_4h_to_h", inside, shape.width, bias=True),
    )
    return build_facts(
        keys,
        shape,
        linears,
        layers=keys.whole("num_hidden_layers"),
        ffn_width=inside,
        norms_in_layer=2,
        tied=False,
        norm_biases=True,
        gated=False,
    )


def read_gpt_neo(keys: ConfigKeys) -> ModelFacts:
    """GPT-Neo: separate projections, biased on the way out alone."""
    width, heads = keys.whole("hidden_size"), keys.whole("num_heads", "num_attention_heads")
    shape = Attention(width, heads, heads, width // heads)
    inside = keys.whole("intermediate_size", default=4 * width)
    linears = (
        Linear("q_proj", width, width),
        Linear("k_proj", width, width),
        Linear("v_proj", width, width),
        Linear("out_proj", width, width, bias=True),
        Linear("c_fc", width, inside, bias=True),
        Linear("c_proj", inside, width, bias=True),
    )
    return build_facts(
        keys,
        shape,
        linears,
        layers=keys.whole("num_layers", "num_hidden_layers"),
        ffn_width=inside,
        norms_in_layer=2,
        tied=True,
        norm_biases=True,
        positions=keys.whole("max_position_embeddings"),
        gated=False,
    )


def read_opt(keys: ConfigKeys) -> ModelFacts:
    """OPT."""
    shape, inside = read_attention(keys), keys.whole("ffn_dim")
    if keys.whole("word_embed_proj_dim", default=shape.width) != shape.width:
        raise keys.refuse("word_embed_proj_dim", "its embedding is narrower than its layers.")
    bias = keys.flag("enable_bias", True)
    linears = (
        Linear("q_proj", shape.width, shape.width, bias),
        Linear("k_proj", shape.width, shape.width, bias),
        Linear("v_proj", shape.width, shape.width, bias),
        Linear("out_proj", shape.width, shape.width, bias),
        Linear("fc1", shape.width, inside, bias),
        Linear("fc2", inside, shape.width, bias),
    )
    return build_facts(
        keys,
        shape,
        linears,
        layers=keys.whole("num_hidden_layers"),
        ffn_width=inside,
        norms_in_layer=2,
        tied=True,
        norm_biases=True,
        # The table keeps two rows that no position uses.
        positions=keys.whole("max_position_embeddings") + 2,
        gated=False,
    )
