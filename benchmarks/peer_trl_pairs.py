"""TRL's side of the preference benchmark: the real DPOTrainer or ORPOTrainer, step by step.

What differs from their defaults is what must be the same for both peers: batch, rows in their
order, learning rate, and float32 on a CPU.
"""

from __future__ import annotations

import os

# First: it takes the standard output before a library can print.
from peer_trl import Gate, LossKept, commands

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import json
import sys
from pathlib import Path
from typing import Any

import pair_workload
import peft
import workload
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from luthier import device
from luthier.device import measure_peak_memory_bytes

COMMON = (
    "gradient_checkpointing", "bf16", "max_length", "beta", "disable_dropout", "optim",
    "weight_decay", "max_grad_norm", "lr_scheduler_type", "warmup_steps", "torch_compile",
    "dataloader_num_workers",
)  # fmt: skip
SHOWN = {
    "dpo": (*COMMON, "loss_type", "precompute_ref_log_probs", "padding_free"),
    "orpo": COMMON,
}


class WatchedDpo(LossKept, DPOTrainer):
    pass


class WatchedOrpo(LossKept, ORPOTrainer):
    pass


def build_trainer(job: dict[str, Any], gate: Gate) -> Any:
    """The method's trainer on the model as a user would hand it over."""
    precision = device.usual_precision()
    values: dict[str, Any] = {
        "output_dir": job["output"],
        "per_device_train_batch_size": pair_workload.PAIRS_PER_STEP,
        # One step more than is asked for: the end is the parent's to say.
        "max_steps": job["steps"] + 1,
        "learning_rate": workload.LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "seed": workload.SEED,
        "bf16": precision == "bfloat16",
        "report_to": "none",
        "save_strategy": "no",
    }
    if job["precomputed"]:
        values["precompute_ref_log_probs"] = True
    config, trainer = (
        (DPOConfig, WatchedDpo) if job["method"] == "dpo" else (ORPOConfig, WatchedOrpo)
    )
    return trainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=precision),
        args=config(**values),
        train_dataset=Dataset.from_list(pair_workload.read_texts(Path(job["texts"]))),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        peft_config=peft.LoraConfig(
            r=workload.RANK,
            lora_alpha=workload.ALPHA,
            target_modules=workload.TARGETS,
            task_type="CAUSAL_LM",
        ),
        callbacks=[gate],
    )


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    commands.wait()
    gate = Gate(SHOWN[job["method"]])
    trainer = build_trainer(job, gate)
    gate.trainer = trainer
    start = peft.load_peft_weights(job["adapter"], device=str(trainer.model.device))
    loaded = peft.set_peft_model_state_dict(trainer.model, start)
    assert not loaded.unexpected_keys, loaded.unexpected_keys
    trainer.train()
    commands.report(memory_bytes=measure_peak_memory_bytes())


if __name__ == "__main__":
    main()
