"""What TRL is told: what must be the same for both peers, and what a contestant asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import peft
import torch
from benchmarks.gpu.cases import ALPHA, LEARNING_RATE, RANK, SEED, TARGETS, Case
from benchmarks.gpu.rows import draw_pairs, draw_rows
from datasets import Dataset
from transformers import BitsAndBytesConfig


def choose_settings(
    case: Case, longest: int, options: Mapping[str, Any], precision: str
) -> dict[str, Any]:
    """Arguments of SFTConfig or DPOConfig.

    Args:
        case: the first that is trained; the others differ in their rows alone.
        options: the contestant's.
    """
    flash = options.get("flash", False)
    chosen: dict[str, Any] = {
        "per_device_train_batch_size": case.rows,
        "max_length": None if flash else longest,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "seed": SEED,
        "bf16": precision == "bfloat16",
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "model_init_kwargs": choose_loading(case, options, precision),
    }
    if case.method != "dpo":
        chosen |= {"dataset_kwargs": {"skip_prepare_dataset": True}, "padding_free": flash}
    switches = {
        "precomputed": "precompute_ref_log_probs",
        "liger": "use_liger_kernel",
        "compile": "torch_compile",
    }
    return chosen | {name: True for option, name in switches.items() if options.get(option)}


def choose_loading(case: Case, options: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """How the model is loaded."""
    # TRL by itself loads float32, and trains all weights in it; a frozen base needs less.
    usual = "float32" if case.method == "full" else precision
    # A device by its number, not `auto`, which moves layers to the host where one is shared.
    here = 0 if torch.cuda.is_available() else "cpu"
    chosen: dict[str, Any] = {"dtype": options.get("dtype", usual), "device_map": {"": here}}
    if options.get("flash"):
        chosen["attn_implementation"] = "flash_attention_2"
    if case.method == "qlora":
        # As Luthier packs it.
        chosen["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, precision),
        )
    return chosen


def choose_adapter(case: Case) -> peft.LoraConfig | None:
    if case.method == "full":
        return None
    return peft.LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        target_modules=TARGETS,
        use_dora=case.method == "dora",
        task_type="CAUSAL_LM",
    )


def draw_data(case: Case, steps: int) -> Dataset:
    """The rows as TRL takes them when they are tokenised already: -100 where there is no label."""
    count = case.rows * steps
    if case.method == "dpo":
        names = ("prompt_ids", "chosen_ids", "rejected_ids")
        pairs = draw_pairs(case.length, count)
        return Dataset.from_list(
            [{name: getattr(pair, name).tolist() for name in names} for pair in pairs]
        )
    rows = draw_rows(case.length, count, case.labelled)
    labels = [
        [int(i) if kept else -100 for i, kept in zip(row.input_ids, row.loss_mask, strict=True)]
        for row in rows
    ]
    return Dataset.from_dict(
        {"input_ids": [row.input_ids.tolist() for row in rows], "labels": labels}
    )
