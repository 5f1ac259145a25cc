"""Shapes of well-known models, typed in from each one's config.json on the Hugging Face hub.

Each count of parameters that follows is compared in the tests with the one that is published.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from luthier.plan.model.architectures import facts_from_config
from luthier.plan.model.model_facts import ModelFacts

Config = Mapping[str, Any]


def _rotary(
    family: str,
    width: int,
    layers: int,
    heads: int,
    kv_heads: int,
    ffn_width: int,
    vocabulary: int,
    *,
    tied: bool = False,
    dtype: str = "bfloat16",
    **more: int,
) -> Config:
    return {
        "model_type": family,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": ffn_width,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "dtype": dtype,
        **more,
    }


def _gpt2(width: int, layers: int, heads: int) -> Config:
    return {
        "model_type": "gpt2",
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        "n_positions": 1024,
        "vocab_size": 50257,
    }


def _pythia(width: int, layers: int, heads: int, vocabulary: int = 50304) -> Config:
    return {
        "model_type": "gpt_neox",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "vocab_size": vocabulary,
        "dtype": "float16",
    }


_SANTACODER: Config = {
    "model_type": "gpt_bigcode",
    "n_embd": 2048,
    "n_layer": 24,
    "n_head": 16,
    "n_inner": 8192,
    "n_positions": 2048,
    "vocab_size": 49280,
    "multi_query": True,
}

KNOWN_MODELS: dict[str, Config] = {
    # family, width, layers, heads, key-value heads, feed-forward width, vocabulary
    "Qwen/Qwen2-0.5B": _rotary("qwen2", 896, 24, 14, 2, 4864, 151936, tied=True),
    "Qwen/Qwen2-1.5B": _rotary("qwen2", 1536, 28, 12, 2, 8960, 151936, tied=True),
    "Qwen/Qwen2-7B": _rotary("qwen2", 3584, 28, 28, 4, 18944, 152064),
    "Qwen/Qwen2-72B": _rotary("qwen2", 8192, 80, 64, 8, 29568, 152064),
    "Qwen/Qwen2.5-0.5B": _rotary("qwen2", 896, 24, 14, 2, 4864, 151936, tied=True),
    "Qwen/Qwen2.5-1.5B": _rotary("qwen2", 1536, 28, 12, 2, 8960, 151936, tied=True),
    "Qwen/Qwen2.5-3B": _rotary("qwen2", 2048, 36, 16, 2, 11008, 151936, tied=True),
    "Qwen/Qwen2.5-7B": _rotary("qwen2", 3584, 28, 28, 4, 18944, 152064),
    "Qwen/Qwen2.5-14B": _rotary("qwen2", 5120, 48, 40, 8, 13824, 152064),
    "Qwen/Qwen2.5-32B": _rotary("qwen2", 5120, 64, 40, 8, 27648, 152064),
    "Qwen/Qwen2.5-72B": _rotary("qwen2", 8192, 80, 64, 8, 29568, 152064),
    "Qwen/Qwen3-0.6B": _rotary("qwen3", 1024, 28, 16, 8, 3072, 151936, tied=True),
    "Qwen/Qwen3-1.7B": _rotary("qwen3", 2048, 28, 16, 8, 6144, 151936, tied=True),
    "Qwen/Qwen3-4B": _rotary("qwen3", 2560, 36, 32, 8, 9728, 151936, tied=True),
    "Qwen/Qwen3-8B": _rotary("qwen3", 4096, 36, 32, 8, 12288, 151936),
    "Qwen/Qwen3-14B": _rotary("qwen3", 5120, 40, 40, 8, 17408, 151936),
    "Qwen/Qwen3-32B": _rotary("qwen3", 5120, 64, 64, 8, 25600, 151936),
    "Qwen/Qwen3-30B-A3B": _rotary(
        "qwen3_moe",
        2048,
        48,
        32,
        4,
        6144,
        151936,
        head_dim=128,
        moe_intermediate_size=768,
        num_experts=128,
        num_experts_per_tok=8,
    ),
    "meta-llama/Llama-2-7b-hf": _rotary("llama", 4096, 32, 32, 32, 11008, 32000, dtype="float16"),
    "meta-llama/Llama-2-13b-hf": _rotary("llama", 5120, 40, 40, 40, 13824, 32000, dtype="float16"),
    "meta-llama/Llama-2-70b-hf": _rotary("llama", 8192, 80, 64, 8, 28672, 32000, dtype="float16"),
    "codellama/CodeLlama-7b-hf": _rotary("llama", 4096, 32, 32, 32, 11008, 32016),
    "codellama/CodeLlama-13b-hf": _rotary("llama", 5120, 40, 40, 40, 13824, 32016),
    "codellama/CodeLlama-34b-hf": _rotary("llama", 8192, 48, 64, 8, 22016, 32000),
    "meta-llama/Meta-Llama-3-8B": _rotary("llama", 4096, 32, 32, 8, 14336, 128256),
    "meta-llama/Meta-Llama-3-70B": _rotary("llama", 8192, 80, 64, 8, 28672, 128256),
    "meta-llama/Llama-3.1-8B": _rotary("llama", 4096, 32, 32, 8, 14336, 128256),
    "meta-llama/Llama-3.1-70B": _rotary("llama", 8192, 80, 64, 8, 28672, 128256),
    "meta-llama/Llama-3.1-405B": _rotary("llama", 16384, 126, 128, 8, 53248, 128256),
    "meta-llama/Llama-3.2-1B": _rotary("llama", 2048, 16, 32, 8, 8192, 128256, tied=True),
    "meta-llama/Llama-3.2-3B": _rotary("llama", 3072, 28, 24, 8, 8192, 128256, tied=True),
    "meta-llama/Llama-3.3-70B": _rotary("llama", 8192, 80, 64, 8, 28672, 128256),
    "mistralai/Mistral-7B-v0.1": _rotary("mistral", 4096, 32, 32, 8, 14336, 32000),
    "mistralai/Mistral-7B-v0.2": _rotary("mistral", 4096, 32, 32, 8, 14336, 32000),
    "mistralai/Mistral-7B-v0.3": _rotary("mistral", 4096, 32, 32, 8, 14336, 32768),
    "mistralai/Mixtral-8x7B-v0.1": _rotary(
        "mixtral", 4096, 32, 32, 8, 14336, 32000, num_local_experts=8, num_experts_per_tok=2
    ),
    "google/gemma-2b": _rotary("gemma", 2048, 18, 8, 1, 16384, 256000, tied=True, head_dim=256),
    "google/gemma-7b": _rotary("gemma", 3072, 28, 16, 16, 24576, 256000, tied=True, head_dim=256),
    "google/gemma-1.1-2b": _rotary("gemma", 2048, 18, 8, 1, 16384, 256000, tied=True, head_dim=256),
    "google/gemma-1.1-7b": _rotary(
        "gemma", 3072, 28, 16, 16, 24576, 256000, tied=True, head_dim=256
    ),
    "google/gemma-2-2b": _rotary("gemma2", 2304, 26, 8, 4, 9216, 256000, tied=True, head_dim=256),
    "google/gemma-2-9b": _rotary("gemma2", 3584, 42, 16, 8, 14336, 256000, tied=True, head_dim=256),
    "google/gemma-2-27b": _rotary(
        "gemma2", 4608, 46, 32, 16, 36864, 256000, tied=True, head_dim=128
    ),
    "google/gemma-3-270m": _rotary(
        "gemma3_text", 640, 18, 4, 1, 2048, 262144, tied=True, head_dim=256
    ),
    "google/gemma-3-1b": _rotary(
        "gemma3_text", 1152, 26, 4, 1, 6912, 262144, tied=True, head_dim=256
    ),
    "openai-community/gpt2": _gpt2(768, 12, 12),
    "openai-community/gpt2-medium": _gpt2(1024, 24, 16),
    "openai-community/gpt2-large": _gpt2(1280, 36, 20),
    "openai-community/gpt2-xl": _gpt2(1600, 48, 25),
    "distilbert/distilgpt2": _gpt2(768, 6, 12),
    "EleutherAI/pythia-14m": _pythia(128, 6, 4),
    "EleutherAI/pythia-31m": _pythia(256, 6, 8),
    "EleutherAI/pythia-70m": _pythia(512, 6, 8),
    "EleutherAI/pythia-160m": _pythia(768, 12, 12),
    "EleutherAI/pythia-410m": _pythia(1024, 24, 16),
    "EleutherAI/pythia-1b": _pythia(2048, 16, 8),
    "EleutherAI/pythia-1.4b": _pythia(2048, 24, 16),
    "EleutherAI/pythia-2.8b": _pythia(2560, 32, 32),
    "EleutherAI/pythia-6.9b": _pythia(4096, 32, 32, vocabulary=50432),
    "EleutherAI/pythia-12b": _pythia(5120, 36, 40, vocabulary=50688),
    "microsoft/Phi-3-mini-4k-instruct": _rotary("phi3", 3072, 32, 32, 32, 8192, 32064),
    "microsoft/Phi-3-medium-4k-instruct": _rotary("phi3", 5120, 40, 40, 10, 17920, 32064),
    "microsoft/Phi-3.5-mini-instruct": _rotary("phi3", 3072, 32, 32, 32, 8192, 32064),
    "microsoft/phi-4": _rotary("phi3", 5120, 40, 40, 10, 17920, 100352),
    "ibm/PowerLM-3b": _rotary("granite", 2304, 40, 36, 36, 9216, 49152, tied=True),
    "bigcode/gpt_bigcode-santacoder": _SANTACODER,
    "HuggingFaceTB/SmolLM2-135M": _rotary("llama", 576, 30, 9, 3, 1536, 49152, tied=True),
    "HuggingFaceTB/SmolLM2-360M": _rotary("llama", 960, 32, 15, 5, 2560, 49152, tied=True),
    "HuggingFaceTB/SmolLM2-1.7B": _rotary("llama", 2048, 24, 32, 32, 8192, 49152, tied=True),
    "HuggingFaceTB/SmolLM3-3B": _rotary("smollm3", 2048, 36, 16, 4, 11008, 128256, tied=True),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": _rotary("llama", 2048, 22, 32, 4, 5632, 32000),
    "huggyllama/llama-7b": _rotary("llama", 4096, 32, 32, 32, 11008, 32000, dtype="float16"),
    "huggyllama/llama-13b": _rotary("llama", 5120, 40, 40, 40, 13824, 32000, dtype="float16"),
    "huggyllama/llama-30b": _rotary("llama", 6656, 60, 52, 52, 17920, 32000, dtype="float16"),
    "huggyllama/llama-65b": _rotary("llama", 8192, 80, 64, 64, 22016, 32000, dtype="float16"),
}
"""Configurations by the name on the hub."""

ALIASES: dict[str, str] = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "distilgpt2": "distilbert/distilgpt2",
    "unsloth/tinyllama": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "tinyllama/tinyllama_v1.1": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "tinyllama/tinyllama-1.1b-intermediate-step-1431k-3t": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    # What the sources of studies/elle call their own further trainings of Qwen2.5-72B.
    "qwen-72b-math-v1": "Qwen/Qwen2.5-72B",
    "qwen-72b-math-nf4": "Qwen/Qwen2.5-72B",
}
"""Other names of models, lower case, that the rule for variants does not lead to."""

# Owners whose models under another's name keep that model's shape, as the makers' own do.
_MIRRORS = frozenset({"nousresearch", "techxgenus", "thebloke", "unsloth"})

# Words of a name that tell how the weights were trained on or packed, not their shape.
_VARIANT = re.compile(
    r"2507|128k|[48]k|[48]bit|awq|base|bf16|bnb|chat|deduped|fp8|gptq|hf|instruct|int[48]|it"
    r"|meta|pt|thinking|unsloth"
)
# Qwen2.5's for code and mathematics have the shape of the plain model of the same size.
_QWEN25_VARIANT = re.compile(r"coder|math")


def find_known(name: str) -> ModelFacts | None:
    """The shipped facts of a model; None for one that is not in the table.

    Letters' case does not count. A variant (instruct, chat, 4-bit, GPTQ …) by the model's maker or
    by a known mirror has the shape of the plain model, and its source says whose shape it is.
    """
    known = find_known_name(name)
    if known is None:
        return None
    source = f"shipped table: config.json of {known}"
    if name.strip().lower() != known.lower():
        source += ", whose shape this is taken to have"
    return facts_from_config(name, KNOWN_MODELS[known], source)


def find_known_name(name: str) -> str | None:
    """The name in `KNOWN_MODELS` of the model whose shape `name` has, or None."""
    lower = name.strip().lower()
    if lower in ALIASES:
        return ALIASES[lower]
    owner, _, bare = lower.rpartition("/")
    shape = _strip_variants(bare)
    for known in KNOWN_MODELS:
        known_owner, _, known_bare = known.lower().rpartition("/")
        if owner in (known_owner, *_MIRRORS) and _strip_variants(known_bare) == shape:
            return known
    plain = f"{owner}/{shape}"
    return ALIASES.get(plain)


def suggest_known(name: str) -> tuple[str, ...]:
    """Up to three names of the table that are spelt like `name`, the nearest first."""
    lower = {known.lower(): known for known in (*KNOWN_MODELS, *ALIASES)}
    bare = {known.rpartition("/")[2]: known for known in lower}
    wanted = name.strip().lower()
    near = difflib.get_close_matches(wanted, lower, n=3, cutoff=0.6)
    near += [
        bare[item]
        for item in difflib.get_close_matches(wanted.rpartition("/")[2], bare, n=3, cutoff=0.6)
    ]
    return tuple(lower[item] for item in dict.fromkeys(near))[:3]


def _strip_variants(bare: str) -> str:
    words = re.split(r"[-_]", bare)
    if words[0] == "qwen2.5":
        words = [word for word in words if not _QWEN25_VARIANT.fullmatch(word)]
    return "-".join(word for word in words if not _VARIANT.fullmatch(word))
