"""TRL's side of the race: its real SFTTrainer or DPOTrainer, a call of `train()` for each turn.

What differs from its defaults is what must be the same for both peers (trl_settings.py): batch,
rows in their order and tokenised already, learning rate; frozen bases in bfloat16; float32 on a
processor.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import peft
import torch
from benchmarks.gpu import child
from benchmarks.gpu.cases import Case
from benchmarks.gpu.trl_settings import choose_adapter, choose_settings, draw_data
from benchmarks.gpu.workers import ORDER_VARIABLES, read_job, serve
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from luthier import device

# Settings that the JSON shows, as the trainer states them.
SHOWN = (
    "bf16", "packing", "padding_free", "loss_type", "max_length", "optim",
    "weight_decay", "max_grad_norm", "torch_compile", "use_liger_kernel", "beta",
    "precompute_ref_log_probs",
)  # fmt: skip


class Kept:
    """Keeps a trainer's loss as it is: what it logs is rounded to four digits."""

    last_loss: torch.Tensor

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.last_loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        return self.last_loss


class Sft(Kept, SFTTrainer):
    pass


class Dpo(Kept, DPOTrainer):
    """With rows that are tokenised already, which its dataset preparation does not know."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


class Clock(TrainerCallback):
    """Times each step from the end of the one before it to its own end, batch included."""

    trainer: Any

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self._started = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._started = child.start_clock()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(child.stop_clock(self._started))
        self.losses.append(float(self.trainer.last_loss))
        self._started = child.start_clock()


class Peer:
    """One model with one method; turns on rows of several lengths."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._cases = {case.length: case for case in (Case(*item) for item in job["cases"])}
        self._first = next(iter(self._cases.values()))
        self._options: dict[str, Any] = job["options"]
        self._data: dict[int, Dataset] = {}
        self._reference_seconds: dict[int, float] = {}
        self._clock = Clock()
        self._trainer: Any = None
        self._started_alike = False

    def build(self) -> dict[str, Any]:
        precision = device.usual_precision()
        steps = self._job["steps"]
        self._data = {length: draw_data(case, steps) for length, case in self._cases.items()}
        pairs = self._first.method == "dpo"
        config, trainer = (DPOConfig, Dpo) if pairs else (SFTConfig, Sft)
        settings = choose_settings(self._first, max(self._cases), self._options, precision)
        self._trainer = trainer(
            model=self._job["model"],
            args=config(self._job["output"], max_steps=steps, **settings),
            train_dataset=self._data[self._first.length],
            processing_class=AutoTokenizer.from_pretrained(self._job["model"]),
            peft_config=choose_adapter(self._first),
            callbacks=[self._clock],
        )
        self._clock.trainer = self._trainer
        self._store_references()
        shown = {name: str(getattr(self._trainer.args, name, None)) for name in SHOWN}
        causal = self._find_causal()
        shown |= {
            "attention": causal.config._attn_implementation,
            "weights": str(causal.dtype),
            "determinism": str(torch.are_deterministic_algorithms_enabled()),
        }
        return {"settings": shown, **child.give_back()}

    def turn(self, length: int, steps: int, uncounted: int, checkpointing: bool) -> dict[str, Any]:
        """Some steps on rows of one length, all of them timed."""
        self._start_alike()
        trainer, rows = self._trainer, self._cases[length].rows
        trainer.train_dataset = self._data[length]
        trainer.args.max_steps = uncounted + steps
        trainer.args.per_device_train_batch_size = trainer._train_batch_size = rows
        for name in ("gradient_checkpointing", "activation_checkpointing"):
            if hasattr(trainer.args, name):
                setattr(trainer.args, name, checkpointing)
        # `train` itself switches it on.
        child.set_checkpointing(self._find_causal(), False)
        reference_seconds = self._time_reference(length)
        clock = self._clock
        clock.seconds, clock.losses = [], []
        device.reset_peak_memory()
        trainer.train()
        peaks = child.measure_peaks()
        return {
            "seconds": clock.seconds,
            "losses": clock.losses,
            "reference_seconds": reference_seconds,
            **peaks,
            **child.give_back(),
        }

    def _start_alike(self) -> None:
        """Take the adapter that Luthier started with, so that the losses can be compared."""
        file = Path(self._job["adapter"])
        if self._started_alike or self._first.method == "full" or not file.exists():
            return
        start = peft.load_peft_weights(str(file), device=str(self._trainer.model.device))
        loaded = peft.set_peft_model_state_dict(self._trainer.model, start)
        assert not loaded.unexpected_keys, loaded.unexpected_keys
        self._started_alike = True

    def _store_references(self) -> None:
        """The reference's answers to all pairs, where they are stored beforehand."""
        if not self._options.get("precomputed"):
            return
        trainer = self._trainer
        # Those of the first length were worked out while the trainer was built.
        self._data[self._first.length] = trainer.train_dataset
        for length, case in self._cases.items():
            if length != self._first.length:
                data = self._data[length]
                self._data[length] = trainer._precompute_ref_logps(data, "train", case.rows)

    def _time_reference(self, length: int) -> float:
        """Seconds of the reference's answers to the pairs of one step; 0 where none are stored."""
        if not self._options.get("precomputed"):
            return 0.0
        if length not in self._reference_seconds:
            trainer, rows = self._trainer, self._cases[length].rows
            pairs = [self._data[length][number] for number in range(rows)]
            batch = trainer._prepare_inputs(trainer.data_collator(pairs))
            for _ in range(2):  # the first time kernels are chosen
                started = child.start_clock()
                trainer.compute_ref_log_probs(trainer.model, batch)
                self._reference_seconds[length] = child.stop_clock(started)
        return self._reference_seconds[length]

    def _find_causal(self) -> Any:
        model = self._trainer.accelerator.unwrap_model(
            self._trainer.model, keep_torch_compile=False
        )
        return model.get_base_model() if isinstance(model, peft.PeftModel) else model


if __name__ == "__main__":
    for variable in ORDER_VARIABLES:
        os.environ.pop(variable, None)
    peer = Peer(read_job())
    serve({"build": peer.build, "turn": peer.turn})
