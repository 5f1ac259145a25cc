"""The model that a run begins with, as its recipe describes it, without an adapter."""

from __future__ import annotations

from typing import Any

import torch

from luthier.adapters.stacked import is_rounded, load_stacked_model, load_unrounded_model
from luthier.device import Precision, flash_attention_available
from luthier.models.load import grow_embeddings
from luthier.models.packed import PackedModel, is_honoured
from luthier.models.quantize import choose_quantization
from luthier.recipe.schema import Recipe


def load_start(
    recipe: Recipe,
    tokenizer: Any,
    precision: Precision,
    *,
    trust_remote_code: bool,
    place: torch.device | None = None,
) -> Any:
    """The model that the run begins with, without an adapter."""
    causal = load_stacked_model(
        recipe.base_model,
        dtype=choose_weight_dtype(recipe.adapter, precision),
        attention=choose_attention(recipe)[0],
        quantization=choose_quantization(recipe),
        place=place,
        trust_remote_code=trust_remote_code,
    )
    grow_embeddings(causal, len(tokenizer))
    return causal


def load_exact_start(recipe: Recipe, tokenizer: Any, *, trust_remote_code: bool) -> Any:
    """The same model in float32, as it was before the recipe's precision or packing rounded it."""
    load = load_stacked_model if choose_quantization(recipe) is None else load_unrounded_model
    causal = load(recipe.base_model, dtype=torch.float32, trust_remote_code=trust_remote_code)
    grow_embeddings(causal, len(tokenizer))
    return causal


def choose_weight_dtype(adapter: str | None, precision: Precision) -> torch.dtype:
    """Frozen weights in the compute precision; trained ones in float32.

    bfloat16 keeps 8 bits: a step of 1e-5 on a weight of 0.02 would be rounded away.
    """
    return getattr(torch, precision) if adapter else torch.float32


def choose_attention(recipe: Recipe) -> tuple[str | None, tuple[str, ...]]:
    """transformers' name for the attention (None: its own choice), and a note on a fallback."""
    wanted = recipe.attn_implementation
    if wanted is None and recipe.flash_attention:
        wanted = "flash_attention_2"
    elif wanted is None and recipe.sdp_attention:
        wanted = "sdpa"
    if wanted == "flash_attention_2" and not flash_attention_available():
        note = "FlashAttention is not available here: PyTorch's own attention is used instead."
        return None, (note,)
    return wanted, ()


def note_attention(wanted: str | None, model: PackedModel) -> tuple[str, ...]:
    """What to say when the attention that the recipe names is not the one taken."""
    if is_honoured(wanted, model.attention):
        return ()
    family = model.causal.config.model_type
    return (
        f"attention: {wanted} cannot do packed rows of {family} here. Taken instead: "
        f"{model.attention}.",
    )


def note_repacking(recipe: Recipe) -> tuple[str, ...]:
    """What to say where a run on a quantised base is packed anew."""
    if choose_quantization(recipe) is None or not is_rounded(recipe.base_model):
        return ()
    return (
        f"{recipe.base_model} was trained on a quantised base. What it learnt is added to the base "
        "in full precision and packed anew: kept but for rounding, which acts like noise. Without "
        "quantisation this run would begin with exactly the model that was scored.",
    )
