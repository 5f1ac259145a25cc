"""Tiny random models of real families, built in memory."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.models.load import keep_soft_cap

VOCABULARY = 300

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    # Larger than usual, so that a wrong mask or position shows in the logits.
    "initializer_range": 0.2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 256,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.2,
    },
    "gpt_neox": {**_COMMON, "use_parallel_residual": True},
    "gemma": {**_COMMON},
    "gemma2": {**_COMMON, "sliding_window": 4, "query_pre_attn_scalar": 8},
    "llama": {**_COMMON},
    "mistral": {**_COMMON, "sliding_window": 4},
    "qwen2": {**_COMMON},
    "qwen3": {**_COMMON},
    "phi3": {**_COMMON, "sliding_window": 4},
    "cohere": {**_COMMON, "logit_scale": 0.0625},
    "granite": {**_COMMON, "logits_scaling": 8.0, "attention_multiplier": 0.3},
}


def build_model(family: str, *, seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any):
    """A random model of `family` in evaluation mode; `changes` go into its configuration."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **{**FAMILIES[family], **changes})
    attention = keep_soft_cap(config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).to(dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases start at zero, where a forgotten one would go unseen.
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3)
    return model.eval()


def name_head(model: Any) -> str:
    """The output head's name: GPT-NeoX's is `embed_out` in some versions, `lm_head` in others."""
    head = model.get_output_embeddings()
    return next(name for name, module in model.named_modules() if module is head)
