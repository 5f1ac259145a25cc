"""The last decoder layer, worked out only where a label is.

After the last attention a position's hidden state is used by nobody but its own logits. Where it
carries no label, the feed-forward half of the layer and the final norm are wasted on it. Families
whose layer is norm, attention, norm, feed-forward (Llama's shape) can leave such positions out.

Under gradient checkpointing the layer is worked out anew in the backward pass, after the block in
which the positions were set. So it is checkpointed here, with the positions among its arguments,
and transformers, which does so around `__call__` or around `forward` depending on its version, is
kept from it for the length of the block.

Shapes: `T` tokens of the row, `N` supervised positions, `D` model width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from functools import partial
from typing import Any

from torch import Tensor, nn

LLAMA_SHAPE = {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}


class LabelledLastLayer:
    """Takes over `layer`'s forward; without positions it does what it always did."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer: Any = layer
        self._plain_forward = layer.forward
        self._positions: Tensor | None = None
        self._checkpoints = False
        layer.forward = self._forward

    @contextlib.contextmanager
    def keeping(self, positions_N: Tensor) -> Generator[None]:
        """Within the block the model's hidden states are (1, N, D), in the order of positions."""
        switch = getattr(self._layer, "gradient_checkpointing", False)
        self._positions, self._checkpoints = positions_N, switch and self._layer.training
        if switch:
            self._layer.gradient_checkpointing = False
        try:
            yield
        finally:
            self._positions = None
            if switch:
                self._layer.gradient_checkpointing = switch

    def restore(self) -> None:
        """Give the layer its own forward back."""
        self._layer.forward = self._plain_forward

    def _forward(self, hidden_1TD: Tensor, *arguments: Any, **keywords: Any) -> Any:
        if self._positions is None:
            return self._plain_forward(hidden_1TD, *arguments, **keywords)
        forward = partial(self._forward_kept, self._positions, **keywords)
        if self._checkpoints:
            return self._layer._gradient_checkpointing_func(forward, hidden_1TD, *arguments)
        return forward(hidden_1TD, *arguments)

    def _forward_kept(
        self, positions_N: Tensor, hidden_1TD: Tensor, *arguments: Any, **keywords: Any
    ) -> Tensor:
        layer = self._layer
        attended_1TD, _ = layer.self_attn(layer.input_layernorm(hidden_1TD), *arguments, **keywords)
        kept_1ND = (hidden_1TD + attended_1TD).index_select(1, positions_N)
        return kept_1ND + layer.mlp(layer.post_attention_layernorm(kept_1ND))


def find_last_layer(base_model: Any) -> nn.Module | None:
    """The last decoder layer where it has Llama's shape, else None."""
    layers = getattr(base_model, "layers", None)
    if not isinstance(layers, nn.ModuleList) or len(layers) == 0:
        return None
    last = layers[-1]
    shape = {name for name, _ in last.named_children()}
    return last if shape == LLAMA_SHAPE else None
