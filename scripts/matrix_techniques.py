"""Every technique as recipe keys, and the tiny models and data that the kill matrix trains on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FAMILIES = ("gpt2", "gpt_neox", "gemma", "llama", "mistral", "qwen2", "qwen3")
# Eight rows in steps of four: two steps see every row once.
STEPS, STEPS_PER_EPOCH = 6, 2

COMMON: dict[str, Any] = {
    "sequence_len": 256,
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "max_steps": STEPS,
    "logging_steps": 1,
    "save_steps": 1,
    "learning_rate": 5e-3,
    "lr_scheduler": "constant",
    "bf16": False,
}
LORA: dict[str, Any] = {
    "adapter": "lora",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_target_linear": True,
    "learning_rate": 2e-2,
}
QLORA: dict[str, Any] = {**LORA, "adapter": "qlora", "load_in_4bit": True}
DORA: dict[str, Any] = {"peft_use_dora": True}
# Restarts after steps 2 and 4.
RELORA: dict[str, Any] = {**LORA, "relora": True, "relora_iterations": 3}
# A new projection every second step.
GAP = 2

# Bitsandbytes keeps moments of fewer than 4096 numbers in 32 bit: the ranks of the 8-bit rows are
# such that a matrix of 64 x 64, or a projected one of 128 x 32, is above that.
TECHNIQUES: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {**LORA, "lora_dropout": 0.1},
    "dora": {**LORA, **DORA},
    "rslora": {**LORA, "peft_use_rslora": True},
    "lora+": {**LORA, "loraplus_lr_ratio": 4, "learning_rate": 5e-3},
    "neftune": {**LORA, "neftune_noise_alpha": 5},
    "lora-head": {**LORA, "lora_target_modules": ["lm_head"]},
    "qlora": {**QLORA, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "qlora-dora": {**QLORA, **DORA},
    "lora-8bit-base": {**LORA, "load_in_8bit": True},
    "adamw-8bit": {"optimizer": "adamw_bnb_8bit"},
    "lora-adamw-8bit": {
        **LORA, "optimizer": "adamw_bnb_8bit", "lora_r": 64, "lora_alpha": 64,
        "learning_rate": 5e-3,
    },
    "galore": {"optimizer": "galore_adamw", "galore_rank": 16, "galore_update_proj_gap": GAP},
    "galore-8bit": {
        "optimizer": "galore_adamw_8bit", "galore_rank": 32, "galore_update_proj_gap": GAP,
    },
    "apollo": {"optimizer": "apollo_adamw", "apollo_rank": 16, "apollo_update_proj_gap": GAP},
    "apollo-8bit": {
        "optimizer": "apollo_adamw_8bit", "apollo_rank": 32, "apollo_update_proj_gap": GAP,
    },
    "apollo-mini": {"optimizer": "apollo_mini_adamw", "apollo_update_proj_gap": GAP},
    "fira": {"optimizer": "fira_adamw", "fira_rank": 16, "fira_update_proj_gap": GAP},
    "fira-8bit": {"optimizer": "fira_adamw_8bit", "fira_rank": 32, "fira_update_proj_gap": GAP},
    "relora": {**RELORA, "relora_prune_method": "magnitude", "relora_prune_ratio": 0.99},
    "relora-4bit-base": {**RELORA, "load_in_4bit": True},
    "relora-dora": {**RELORA, **DORA},
    "dpo": {**LORA, "rl": "dpo"},
    "dpo-switched": {**LORA, "rl": "dpo", "precompute_ref_log_probs": False},
    "dpo-full": {"rl": "dpo"},
    "ipo": {**LORA, "rl": "ipo"},
    "simpo": {**LORA, "rl": "simpo"},
    "orpo": {**LORA, "rl": "orpo"},
    "orpo-after-lora": {**LORA, "rl": "orpo"},
}  # fmt: skip
EIGHT_BIT_MOMENTS = {name for name in TECHNIQUES if name.endswith(("adamw-8bit", "-8bit"))}
# The run whose result a technique starts from.
STAGES: Mapping[str, str] = {"orpo-after-lora": "lora"}

# Widths in whole blocks of 64, as bitsandbytes packs them.
WIDTHS: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
GPT2_WIDTHS: dict[str, Any] = {"n_embd": 64}


def make_recipe(technique: str, base: Path, data: Path) -> dict[str, Any]:
    """The keys of one run; `data` is the folder of `write_data`."""
    keys = {**COMMON, **TECHNIQUES[technique], "base_model": str(base)}
    source = {"path": str(data / "chat.jsonl")}
    if "rl" in keys:
        source = {"path": str(data / "pairs.jsonl"), "type": "preference"}
    return {**keys, "datasets": [source]}


def write_data(folder: Path) -> None:
    """Eight conversations of ragged lengths, and eight pairs over the same prompts."""
    folder.mkdir(parents=True)
    chats: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for number in range(8):
        asked = f"Count on from {number}."
        answer = " ".join(str(number + step) for step in range(1, 3 + number % 3))
        chats.append(
            {
                "id": f"row-{number}",
                "messages": [
                    {"role": "user", "content": asked},
                    {"role": "assistant", "content": answer},
                ],
            }
        )
        pairs.append(
            {
                "id": f"pair-{number}",
                "prompt": asked,
                "chosen": answer,
                "rejected": "no " * (1 + number % 4) + str(number),
            }
        )
    for name, rows in (("chat", chats), ("pairs", pairs)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
