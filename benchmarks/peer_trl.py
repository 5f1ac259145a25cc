"""TRL's side of the benchmark: the real SFTTrainer, held at each step's end until told to go on.

What differs from its defaults is what must be the same for both: batch, rows in their order,
learning rate, and float32 on a CPU (its default, bfloat16, is what both take on a GPU).
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipe import Commands

commands = Commands()

import json  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

import peft  # noqa: E402
import torch  # noqa: E402
import workload  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoTokenizer, TrainerCallback  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

from luthier import device  # noqa: E402
from luthier.device import measure_peak_memory_bytes  # noqa: E402

SHOWN = (
    "gradient_checkpointing", "bf16", "packing", "padding_free", "loss_type", "max_length",
    "optim", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm",
    "lr_scheduler_type", "warmup_steps", "neftune_noise_alpha", "torch_compile",
    "dataloader_num_workers", "use_liger_kernel",
)  # fmt: skip


class LossKept:
    """Keeps a trainer's loss as it is: what it logs is rounded to four digits."""

    last_loss: torch.Tensor

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.last_loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        return self.last_loss


class Watched(LossKept, SFTTrainer):
    pass


class Gate(TrainerCallback):
    """Lets one step pass a command. A step is all from one step's end to the next, batch included.

    `trainer` is set once it is built. `shown` names the settings to report.
    """

    trainer: Any
    started: float

    def __init__(self, shown: tuple[str, ...]) -> None:
        self._shown = shown

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        device.reset_peak_memory()
        commands.report(
            settings={name: str(getattr(args, name)) for name in self._shown},
            memory_bytes=measure_peak_memory_bytes(),
        )
        self._wait(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        device.synchronize()
        seconds = time.perf_counter() - self.started
        commands.report(seconds=seconds, loss=float(self.trainer.last_loss))
        self._wait(control)

    def _wait(self, control: Any) -> None:
        if commands.wait() != "step":
            control.should_training_stop = True
        device.synchronize()
        self.started = time.perf_counter()


def read_dataset(path: Path) -> Dataset:
    """The rows as TRL takes them when they are tokenised already: -100 where not supervised."""
    rows = workload.read_rows(path)
    labels = [
        [int(i) if kept else -100 for i, kept in zip(row.input_ids, row.loss_mask, strict=True)]
        for row in rows
    ]
    return Dataset.from_dict(
        {"input_ids": [row.input_ids.tolist() for row in rows], "labels": labels}
    )


def build_config(job: dict[str, Any], precision: device.Precision) -> SFTConfig:
    chosen: dict[str, Any] = {} if job["checkpointing"] else {"gradient_checkpointing": False}
    return SFTConfig(
        job["output"],
        per_device_train_batch_size=workload.BATCH_SIZE,
        # One step more than is asked for: the end is the parent's to say.
        max_steps=job["steps"] + 1,
        learning_rate=workload.LEARNING_RATE,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        seed=workload.SEED,
        bf16=precision == "bfloat16",
        model_init_kwargs={"dtype": precision},
        report_to="none",
        save_strategy="no",
        **chosen,
    )


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    commands.wait()
    gate = Gate(SHOWN)
    trainer: Any = Watched(
        model=job["model"],
        args=build_config(job, device.usual_precision()),
        train_dataset=read_dataset(Path(job["rows"])),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        peft_config=peft.LoraConfig(
            r=workload.RANK,
            lora_alpha=workload.ALPHA,
            target_modules=workload.TARGETS,
            use_dora=job["dora"],
            task_type="CAUSAL_LM",
        ),
        callbacks=[gate],
    )
    gate.trainer = trainer
    start = peft.load_peft_weights(job["adapter"], device=str(trainer.model.device))
    loaded = peft.set_peft_model_state_dict(trainer.model, start)
    assert not loaded.unexpected_keys, loaded.unexpected_keys
    trainer.train()
    commands.report(memory_bytes=measure_peak_memory_bytes())


if __name__ == "__main__":
    main()
