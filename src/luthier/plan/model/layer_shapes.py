"""The blocks that transformer layers of several families are made of."""

from __future__ import annotations

from typing import NamedTuple

from luthier.plan.model.config_keys import ConfigKeys
from luthier.plan.model.model_facts import Linear, ModelFacts


class Attention(NamedTuple):
    """Widths around one attention block."""

    width: int
    heads: int
    kv_heads: int
    head_width: int

    @property
    def queries(self) -> int:
        """Width of all query heads."""
        return self.heads * self.head_width

    @property
    def keys(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.kv_heads * self.head_width


def read_attention(keys: ConfigKeys, head_width: int | None = None) -> Attention:
    """Widths of attention; `head_width` where the family does not derive it from the others."""
    width, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    return Attention(
        width,
        heads,
        keys.whole("num_key_value_heads", default=heads),
        keys.whole("head_dim", default=head_width or width // heads),
    )


def separate_attention(
    shape: Attention, input_bias: bool = False, output_bias: bool = False
) -> tuple[Linear, ...]:
    """Queries, keys, values and output as four layers."""
    return (
        Linear("q_proj", shape.width, shape.queries, input_bias),
        Linear("k_proj", shape.width, shape.keys, input_bias),
        Linear("v_proj", shape.width, shape.keys, input_bias),
        Linear("o_proj", shape.queries, shape.width, output_bias),
    )


def gated_feed_forward(width: int, inside: int, bias: bool = False) -> tuple[Linear, ...]:
    """Gate, up and down."""
    return (
        Linear("gate_proj", width, inside, bias),
        Linear("up_proj", width, inside, bias),
        Linear("down_proj", inside, width, bias),
    )


def list_experts(width: int, inside: int, count: int, chosen: int) -> tuple[Linear, ...]:
    """A router and `count` gated feed-forward blocks, of which a token passes `chosen`."""
    return (
        Linear("gate", width, count, is_module=False),
        Linear(
            "gate_up_proj", width, 2 * inside, copies=count, active_copies=chosen, is_module=False
        ),
        Linear("down_proj", inside, width, copies=count, active_copies=chosen, is_module=False),
    )


def build_facts(
    keys: ConfigKeys,
    shape: Attention,
    linears: tuple[Linear, ...],
    *,
    layers: int,
    ffn_width: int,
    norms_in_layer: int,
    tied: bool,
    norm_biases: bool = False,
    head_norms: int = 0,
    positions: int = 0,
    gated: bool = True,
) -> ModelFacts:
    """Facts of a model whose norms are as wide as its hidden states, with one at the end.

    `head_norms` counts norms in a layer that are as wide as one head.
    """
    wide = (layers * norms_in_layer + 1) * shape.width * (2 if norm_biases else 1)
    return ModelFacts(
        name=keys.model,
        family="",
        layers=layers,
        width=shape.width,
        ffn_width=ffn_width,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_width=shape.head_width,
        vocabulary=keys.whole("vocab_size"),
        positions=positions,
        tied_head=keys.flag("tie_word_embeddings", tied),
        gated=gated,
        linears=linears,
        norm_weights=wide + layers * head_norms * shape.head_width,
        weights_dtype="",
        source="",
    )
