"""What the planner has to know of a model: its shape, and how many weights lie where."""

from __future__ import annotations

from typing import NamedTuple


class Linear(NamedTuple):
    """One kind of linear layer inside a transformer layer.

    Attributes:
        name: the module's own name, such as `q_proj` or `c_attn`.
        inputs: width of what goes in.
        outputs: width of what comes out.
        bias: whether it adds a bias of width `outputs`.
        copies: how many there are in one transformer layer (experts of a mixture).
        active_copies: how many of them a token passes through.
        is_module: whether it is a linear module that can be quantised and carry an adapter; the
            experts of a mixture lie in one tensor, and its router is a plain table.
    """

    name: str
    inputs: int
    outputs: int
    bias: bool = False
    copies: int = 1
    active_copies: int = 1
    is_module: bool = True

    @property
    def weights(self) -> int:
        """Weights of all copies, without biases."""
        return self.inputs * self.outputs * self.copies


class ModelFacts(NamedTuple):
    """A causal language model as the planner sees it.

    Attributes:
        name: the name it was asked for by.
        family: `model_type` of its configuration, such as `qwen2`.
        layers: number of transformer layers.
        width: of the hidden states (h).
        ffn_width: of the feed-forward block's inside; of one expert in a mixture.
        heads: query heads.
        kv_heads: key and value heads.
        head_width: of one head.
        vocabulary: rows of the embedding table (V).
        positions: rows of a learned position table, 0 where positions are rotary.
        tied_head: whether the head is the embedding table.
        gated: whether the feed-forward block has a gate (SwiGLU, GeGLU).
        linears: the linear layers of one transformer layer.
        norm_weights: weights of all norms of the whole model, with their biases.
        weights_dtype: what the published weights are stored in: `bfloat16`, `float16` or
            `float32`.
        source: where these facts are from.
    """

    name: str
    family: str
    layers: int
    width: int
    ffn_width: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    positions: int
    tied_head: bool
    gated: bool
    linears: tuple[Linear, ...]
    norm_weights: int
    weights_dtype: str
    source: str

    @property
    def linear_weights(self) -> int:
        """Weights of the linear layers of all transformer layers: what is quantised."""
        return self.layers * sum(linear.weights for linear in self.linears)

    @property
    def bias_weights(self) -> int:
        """Biases of those linear layers."""
        biases = (item.outputs * item.copies for item in self.linears if item.bias)
        return self.layers * sum(biases)

    @property
    def embedding_weights(self) -> int:
        """Weights of the token and position tables."""
        return (self.vocabulary + self.positions) * self.width

    @property
    def head_weights(self) -> int:
        """Weights of the head, 0 where it is the embedding table."""
        return 0 if self.tied_head else self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """All weights (N)."""
        inside = self.linear_weights + self.bias_weights + self.norm_weights
        return inside + self.embedding_weights + self.head_weights

    @property
    def active_parameters(self) -> int:
        """Weights that one token is multiplied with: chosen experts, and the head once."""
        linears = sum(item.inputs * item.outputs * item.active_copies for item in self.linears)
        return self.layers * linears + self.vocabulary * self.width
