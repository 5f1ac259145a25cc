"""Which hidden states a linear layer reads: where it stands in its transformer layer."""

from __future__ import annotations

from typing import Literal

from luthier.plan.model.model_facts import Linear, ModelFacts

# What goes into attention, what comes out of it, and the same of the feed-forward block.
Stream = Literal["attention in", "attention out", "feed-forward in", "feed-forward out"]

_ATTENTION_IN = frozenset(
    {"q_proj", "k_proj", "v_proj", "qkv_proj", "c_attn", "query_key_value", "q_attn", "kv_attn"}
)


def find_stream(linear: Linear, facts: ModelFacts) -> Stream:
    """The stream that `linear` reads, by its name and its widths."""
    if linear.name in _ATTENTION_IN:
        return "attention in"
    if linear.inputs == facts.ffn_width and linear.outputs == facts.width:
        return "feed-forward out"
    attended = facts.heads * facts.head_width
    if linear.inputs == attended and linear.outputs == facts.width:
        return "attention out"
    return "feed-forward in"


def stream_width(stream: Stream, facts: ModelFacts) -> int:
    """Numbers that one token has in a stream."""
    if stream == "attention out":
        return facts.heads * facts.head_width
    return facts.ffn_width if stream == "feed-forward out" else facts.width
