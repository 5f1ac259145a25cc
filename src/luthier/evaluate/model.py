"""The model that an evaluation scores: a base model, a run's result or an adapter from anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState

from luthier import device
from luthier.adapters.load_adapter import load_adapter
from luthier.adapters.stacked import load_stacked_model
from luthier.models.load import grow_embeddings, load_tokenizer
from luthier.models.packed import PackedModel
from luthier.models.places import ModelPlace, find_model
from luthier.precision import choose_precision

__all__ = ["EvaluatedModel", "ModelPlace", "find_model", "load_model"]


@dataclass(frozen=True)
class EvaluatedModel:
    """A causal model in evaluation mode on its device, with its tokenizer."""

    causal: Any
    tokenizer: Any

    @property
    def device(self) -> torch.device:
        return self.causal.device

    @property
    def precision(self) -> str:
        """What it computes in: `float32`, `bfloat16`."""
        return str(self.causal.dtype).removeprefix("torch.")

    @property
    def context_tokens(self) -> int:
        """The longest input that the model was built for."""
        config = self.causal.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 2048)

    @contextlib.contextmanager
    def over_packed_rows(self) -> Generator[PackedModel]:
        """The model over packed rows. Its attention is another meanwhile: generate afterwards."""
        before: str = self.causal.config._attn_implementation
        try:
            yield PackedModel(self.causal).eval()
        finally:
            self.causal.set_attn_implementation(before)


def load_model(
    name: str,
    *,
    bf16: bool | None = None,
    chat_template: str = "tokenizer_default",
    special_tokens: Mapping[str, str] | None = None,
    trust_remote_code: bool = False,
) -> EvaluatedModel:
    """Load the model in `name` onto the device, in float32 or bfloat16 (`bf16`; absent: auto).

    An adapter that was trained on a quantised base stands on the same quantised base again.

    Args:
        chat_template: the template to ask with, where it is not the tokenizer's own.
        special_tokens: given to the tokenizer, as training would.
    """
    device.prepare_scoring()
    place = find_model(name)
    precision = choose_precision("auto" if bf16 is None else bf16)
    tokenizer = load_tokenizer(
        place.tokenizer,
        chat_template=chat_template,
        special_tokens=special_tokens,
        trust_remote_code=trust_remote_code,
    ).tokenizer
    causal = load_stacked_model(
        place.base,
        dtype=getattr(torch, precision),
        quantization=place.quantization,
        place=PartialState().device,
        trust_remote_code=trust_remote_code,
    )
    grow_embeddings(causal, len(tokenizer))
    if place.adapter is not None:
        load_adapter(causal, place.adapter, base_model=place.base)
    return EvaluatedModel(causal.eval().to(PartialState().device), tokenizer)
