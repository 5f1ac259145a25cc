"""The pre-training loop: resumable at any moment, fast where launching a kernel is what costs.

What decides the speed of five million weights on a GPU, at 65,536 tokens a step:

- Elementwise kernels move more bytes than the matrix products do, as every product is narrow.
  `torch.compile` fuses them, and the float32 logits (2 GiB a step) need not be written at all.
- A compiled step is some 200 kernels of 30 µs or more, so that the host stays ahead of the device
  without CUDA graphs. It does so because nothing in a step waits: batches are gathered on the
  device (`DeviceBatches`), Muon takes all matrices of a shape at once (`BatchedMuon`), AdamW is
  fused, and the loss is read once in LOG_EVERY steps. The optimizers are not compiled: a learning
  rate that changes would have them compiled anew (pytorch/pytorch#107076).
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from embedded_batches import MIXTURES, BatchPlan, DeviceBatches
from embedded_checkpoint import load_newest, save_checkpoint
from embedded_model import (
    compute_chunked_loss,
    compute_validation_loss,
    compute_whole_loss,
    copy_weights,
)
from embedded_optimizers import build_optimizers, learning_rate_factor
from embedded_runs import Budget, Settings
from embedded_tokens import Corpus, digest_corpus
from torch.nn.utils import clip_grad_norm_
from transformers import Qwen2ForCausalLM

from luthier.errors import TrainingError

LOG_EVERY = 50


class Best(NamedTuple):
    """The weights to keep: lowest mean validation loss over the sources, each counting the same.

    A source that is overfitted raises it, however much of the corpus it is.
    """

    score: float
    step: int
    losses: dict[str, float]
    weights: dict[str, torch.Tensor]  # bfloat16


class Outcome(NamedTuple):
    finished: bool
    steps: int
    tokens: int
    seconds: float  # of training, over all starts
    tokens_per_second: float  # over all starts, validation included
    passes: dict[str, float]  # over each source
    best: Best


class Pretraining:
    """One training and its folder of checkpoints: `resume`, `warm_up`, `run`."""

    def __init__(
        self,
        model: Qwen2ForCausalLM,
        corpus: Corpus,
        settings: Settings,
        folder: Path,
        *,
        checkpoint_seconds: float = 30.0,
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device).train()
        self.settings, self.folder = settings, folder
        self.budget: Budget | None = None  # of the checkpoint that is gone on from
        self.damaged: list[str] = []
        self.step, self.seconds = 0, 0.0
        self.best: Best | None = None
        self.history: list[dict[str, Any]] = []  # {"step", "losses"} of every validation
        self._validation = corpus.validation
        self._optimizers = build_optimizers(model, settings.learning_rate, settings.weight_decay)
        window = settings.sequence_tokens + 1
        self._plan = BatchPlan(
            {name: len(tokens) for name, tokens in corpus.training.items()},
            MIXTURES[settings.mixture],
            rows=settings.rows,
            window=window,
            seed=settings.seed,
        )
        self._batches = DeviceBatches(corpus.training, self._plan, window, self.device)
        # How often it is validated decides which weights are kept, and so belongs to them.
        self._made_with = dataclasses.asdict(settings) | {
            "shares": MIXTURES[settings.mixture],
            "corpus": digest_corpus(corpus),
            "parameters": sum(param.numel() for param in model.parameters()),
        }
        on_gpu = self.device.type == "cuda"
        self._compute_loss = compute_whole_loss if on_gpu else compute_chunked_loss
        self._checkpoint_seconds = checkpoint_seconds
        self._saved_step = -1

    def resume(self) -> bool:
        """Go on from the newest whole checkpoint; False where there is none.

        Raises:
            TrainingError: the checkpoint is of another corpus, model or setting.
        """
        found = load_newest(self.folder)
        self.damaged = found.damaged if found else []
        if found is None or not found.values:
            return False
        values = found.values
        for key, value in self._made_with.items():
            if values["made_with"].get(key) != value:
                raise TrainingError(
                    f"{self.folder}: its checkpoint was made with {key} "
                    f"{values['made_with'].get(key)}, now it is {value}. Ask for the same again, "
                    "or move that folder away."
                )
        self.model.load_state_dict(values["weights"])
        for optimizer, state in zip(self._optimizers, values["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.seconds = values["step"], values["seconds"]
        self.budget = Budget(**values["budget"])
        self.best, self.history = Best(**values["best"]), values["history"]
        self._saved_step = self.step
        print(f"going on from step {self.step}, {self.seconds / 60:.1f} minutes in", flush=True)
        return True

    def warm_up(self, compiling: Literal["auto", "on", "off"] = "auto") -> str:
        """Compile, where asked, and run one batch without a step: no weight moves, no time counts.

        Returns:
            "compiled", "eager", or the reason why it could not be compiled.
        """
        eager = self._compute_loss
        if compiling == "off" or (compiling == "auto" and self.device.type == "cpu"):
            self._try_a_batch()
            return "eager"
        try:
            self._compute_loss = torch.compile(compute_whole_loss, dynamic=False)
            self._try_a_batch()
        except Exception as error:
            # A compiler is missing or too old, by any of its many exceptions. It is only speed.
            self._compute_loss = eager
            self._try_a_batch()
            return f"eager, as it did not compile ({type(error).__name__}: {error})"[:500]
        return "compiled"

    def run(self, budget: Budget, *, stop_seconds: float = math.inf) -> Outcome:
        """Train until the budget is spent, or for `stop_seconds` from now.

        Time counts from here on, on top of what earlier starts have spent up to their last
        checkpoint.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        self.budget = budget
        started, first_step, spent_before = time.monotonic(), self.step, self.seconds
        saved_at, running = started, torch.zeros((), device=self.device)
        if self.best is None:
            self._validate()
        while (progress := budget.progress(self.step, self.seconds)) < 1:
            if time.monotonic() - started > stop_seconds:
                break
            running += self._take_step(progress)
            self.step += 1
            self.seconds = spent_before + time.monotonic() - started
            if self.step % LOG_EVERY == 0:
                speed = self._tokens(self.step - first_step) / (time.monotonic() - started)
                self._log(float(running) / LOG_EVERY, progress, speed)
                running.zero_()
            if self.step % self.settings.validate_every == 0:
                self._validate()
            if time.monotonic() - saved_at >= self._checkpoint_seconds:
                self._save()
                saved_at = time.monotonic()
        finished = budget.progress(self.step, self.seconds) >= 1
        if finished and self.history[-1]["step"] != self.step:
            self._validate()
        self._save()
        assert self.best is not None
        return Outcome(
            finished,
            self.step,
            self._tokens(self.step),
            self.seconds,
            self._tokens(self.step) / max(self.seconds, 1e-9),
            self._plan.count_passes(self.step),
            self.best,
        )

    def _take_step(self, progress: float) -> torch.Tensor:
        for optimizer in self._optimizers:
            rate = self.settings.learning_rate * learning_rate_factor(progress)
            optimizer.param_groups[0]["lr"] = rate
        loss = self._compute_loss(self.model, self._batches.draw(self.step))
        loss.backward()
        clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def _try_a_batch(self) -> None:
        loss = self._compute_loss(self.model, self._batches.draw(self.step))
        loss.backward()
        loss.item()  # an error of the device shows where it is waited for
        self.model.zero_grad(set_to_none=True)

    def _validate(self) -> None:
        losses = compute_validation_loss(self.model, self._validation)
        score = sum(losses.values()) / len(losses)
        if not math.isfinite(score):
            raise TrainingError(f"step {self.step}: the validation loss is {score}.")
        self.history.append({"step": self.step, "losses": losses})
        shown = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
        print(f"step {self.step} validation: {shown}", flush=True)
        if self.best is None or score < self.best.score:
            self.best = Best(score, self.step, losses, copy_weights(self.model))

    def _save(self) -> None:
        if self._saved_step == self.step:
            return
        assert self.best is not None
        assert self.budget is not None
        values = {
            "made_with": self._made_with,
            "weights": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "budget": self.budget._asdict(),
            "best": self.best._asdict(),
            "history": self.history,
        }
        save_checkpoint(self.folder, self.step, values)
        self._saved_step = self.step

    def _tokens(self, steps: int) -> int:
        return steps * self.settings.rows * self.settings.sequence_tokens

    def _log(self, loss: float, progress: float, tokens_per_second: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"step {self.step}: the loss is {loss}. Start again with a lower --learning-rate."
            )
        print(
            f"step {self.step} {100 * progress:.1f}% loss {loss:.4f} "
            f"{tokens_per_second:,.0f} tokens/s",
            flush=True,
        )


def describe_training(outcome: Outcome, device: torch.device) -> dict[str, Any]:
    """What training.json says."""
    return {
        "steps": outcome.steps,
        "tokens": outcome.tokens,
        "minutes": round(outcome.seconds / 60, 1),
        "device": describe_device(device),
        "passes_over_source": outcome.passes,
        "kept_step": outcome.best.step,
        "validation_loss_nats_per_token": outcome.best.losses,
    }


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"
