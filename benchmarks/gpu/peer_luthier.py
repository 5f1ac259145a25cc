"""Luthier's side of the race: the parts of a real run, `take_step` by `take_step`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from benchmarks.gpu import child
from benchmarks.gpu.cases import Case, build_values
from benchmarks.gpu.rows import draw_pairs, draw_rows
from benchmarks.gpu.workers import ORDER_VARIABLES, read_job, serve

from luthier import device
from luthier.data.batches import BatchPlan
from luthier.files import RunLayout
from luthier.models.load import load_tokenizer
from luthier.recipe.load import parse_recipe
from luthier.train.build import build_model
from luthier.train.goal import add_reference
from luthier.train.loop import LoopParts, LoopSettings, rehearse, take_step
from luthier.train.prepare import PreparedData
from luthier.train.reference import compute_reference_log_probs
from luthier.train.run import build_accelerator, build_parts


class InOrder(BatchPlan):
    """The rows as they stand, step after step, as the peer reads them."""

    def micro_batches_of_step(self, step: int) -> list[list[int]]:
        size = self._micro_batch_size
        first = step % self.steps_per_epoch * size
        return [list(range(first, first + size))]


class Peer:
    """One model with one method; turns on rows of several lengths."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._cases = {case.length: case for case in (Case(*item) for item in job["cases"])}
        self._examples: dict[int, list[Any]] = {}
        self._reference_seconds: dict[int, float] = {}
        self._steps = 0
        self._parts: LoopParts
        self._settings: LoopSettings

    def build(self) -> dict[str, Any]:
        """What `luthier.train.run.train_recipe` builds, on the benchmark's rows."""
        options = self._job["options"]
        prepare(options.get("deterministic", "default"))
        first = next(iter(self._cases.values()))
        flash = options.get("flash", False)
        values = build_values(first, self._job["model"], checkpointing=False, flash=flash)
        recipe = parse_recipe(values, source="benchmark").recipe
        device.allow_tf32(recipe.tf32 is not False)
        precision = device.usual_precision()
        tokenizer = load_tokenizer(recipe.base_model).tokenizer
        accelerator = build_accelerator(recipe, RunLayout(Path(self._job["output"])), precision)
        built = build_model(
            recipe, tokenizer, precision, trust_remote_code=False, place=accelerator.device
        )
        if self._job["adapter"] and first.method != "full":
            built.adapter.save(Path(self._job["adapter"]))
        model = built.module.model
        for length, case in self._cases.items():
            data = PreparedData(self._draw(case), [], "", ())
            data = add_reference(recipe, model, data, None, accelerator, built.reference_digest)
            self._examples[length] = data.training
        data = PreparedData(self._examples[first.length], [], "", ())
        self._parts, self._settings = build_parts(recipe, accelerator, built, data)
        said = {
            "attention": model.attention,
            "shares_prompts": model.shares_prompts,
            "precision": precision,
            "optimizer": recipe.optimizer,
            "determinism": options.get("deterministic", "default"),
            "notes": [*built.notes, *self._rehearse(model.causal)],
        }
        return {"settings": said, **child.give_back()}

    def turn(self, length: int, steps: int, uncounted: int, checkpointing: bool) -> dict[str, Any]:
        """Some steps on rows of one length, all of them timed."""
        self._take_rows(length, checkpointing)
        reference_seconds = self._time_reference(length)
        device.reset_peak_memory()
        seconds: list[float] = []
        losses: list[float] = []
        for _ in range(uncounted + steps):
            started = child.start_clock()
            losses.append(self._step())
            seconds.append(child.stop_clock(started))
        peaks = child.measure_peaks()
        return {
            "seconds": seconds,
            "losses": losses,
            "reference_seconds": reference_seconds,
            **peaks,
            **child.give_back(),
        }

    def profile(self, length: int, steps: int, checkpointing: bool, trace: str) -> dict[str, Any]:
        """Where the time of a step goes; see kernels.py."""
        from benchmarks.gpu.kernels import profile_steps

        self._take_rows(length, checkpointing)
        return profile_steps(self._step, steps, Path(trace) if trace else None)

    def _rehearse(self, causal: Any) -> tuple[str, ...]:
        """As a run does on a GPU, where it settles which operations keep an order."""
        if not device.rehearses_memory():
            return ()
        child.set_checkpointing(causal, True)
        return rehearse(self._parts)

    def _time_reference(self, length: int) -> float:
        """Seconds of what DPO works out beforehand, for the pairs of one step; 0 without pairs.

        Not measured while it was worked out: then the other peers were starting too.
        """
        case = self._cases[length]
        if case.method != "dpo":
            return 0.0
        if length not in self._reference_seconds:
            parts = self._parts
            model = parts.accelerator.unwrap_model(parts.module).model
            pairs = draw_pairs(length, case.rows)
            for _ in range(2):  # the first time kernels are chosen
                started = child.start_clock()
                with parts.accelerator.autocast():
                    compute_reference_log_probs(model, pairs, parts.accelerator.device)
                self._reference_seconds[length] = child.stop_clock(started)
        return self._reference_seconds[length]

    def _draw(self, case: Case) -> list[Any]:
        count = case.rows * self._job["steps"]
        if case.method == "dpo":
            return draw_pairs(case.length, count)
        return draw_rows(case.length, count, case.labelled)

    def _take_rows(self, length: int, checkpointing: bool) -> None:
        examples, rows = self._examples[length], self._cases[length].rows
        plan = InOrder(
            [example.tokens for example in examples],
            micro_batch_size=rows,
            accumulation=1,
            seed=0,
            sequence_len=length,
        )
        self._parts = self._parts._replace(plan=plan, examples=examples)
        module = self._parts.accelerator.unwrap_model(self._parts.module)
        child.set_checkpointing(module.model.causal, checkpointing)
        self._steps = 0

    def _step(self) -> float:
        report = take_step(self._parts, self._settings, self._steps)
        self._steps += 1
        return report.loss


def prepare(deterministic: str) -> None:
    """As before every run of Luthier; `off` takes back what keeps the order of sums."""
    device.prepare_process()
    if deterministic == "off":
        torch.use_deterministic_algorithms(False)
        torch.backends.cuda.enable_cudnn_sdp(True)
        for name in ORDER_VARIABLES:
            os.environ.pop(name, None)


if __name__ == "__main__":
    peer = Peer(read_job())
    serve({"build": peer.build, "turn": peer.turn, "profile": peer.profile})
