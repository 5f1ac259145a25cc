"""Luthier's side of the benchmark: the parts of a real run, one `take_step` a command."""

from __future__ import annotations

import sys
from pathlib import Path

from pipe import Commands

commands = Commands()

import json  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

from pair_workload import read_pairs  # noqa: E402
from workload import build_recipe, read_rows  # noqa: E402

from luthier import device  # noqa: E402
from luthier.data.batches import BatchPlan  # noqa: E402
from luthier.data.pair_batches import ScoredPair  # noqa: E402
from luthier.device import measure_peak_memory_bytes  # noqa: E402
from luthier.files import RunLayout  # noqa: E402
from luthier.models.load import load_tokenizer  # noqa: E402
from luthier.optim.state_size import measure_state_bytes  # noqa: E402
from luthier.precision import choose_precision  # noqa: E402
from luthier.train.build import (  # noqa: E402
    build_model,
    build_optimizer,
    build_schedule,
    build_settings,
)
from luthier.train.goal import add_reference  # noqa: E402
from luthier.train.loop import LoopParts, LoopSettings, take_step  # noqa: E402
from luthier.train.prepare import PreparedData  # noqa: E402
from luthier.train.reference import compute_reference_log_probs  # noqa: E402
from luthier.train.run import build_accelerator  # noqa: E402


class InOrder(BatchPlan):
    """The rows as they stand in the file, as the peer reads them."""

    def micro_batches_of_step(self, step: int) -> list[list[int]]:
        first = step * self._micro_batch_size
        return [list(range(first, first + self._micro_batch_size))]


def build_parts(job: dict[str, Any]) -> tuple[LoopParts, LoopSettings]:
    """What `luthier.train.run.train_recipe` builds, on the benchmark's rows."""
    device.prepare_process()
    recipe = build_recipe(Path(job["model"]), job["steps"], job["changes"])
    precision = choose_precision(recipe.bf16)
    tokenizer = load_tokenizer(recipe.base_model).tokenizer
    built = build_model(recipe, tokenizer, precision, trust_remote_code=False)
    built.adapter.save(Path(job["adapter"]))
    accelerator = build_accelerator(recipe, RunLayout(Path(job["output"])), precision)
    examples: Any = (read_pairs if recipe.rl else read_rows)(Path(job["rows"]))
    examples = add_reference(
        recipe,
        built.module.model,
        PreparedData(examples, [], "", ()),
        None,
        accelerator,
        built.reference_digest,
    ).training
    plan = InOrder(
        [example.tokens for example in examples],
        micro_batch_size=recipe.micro_batch_size,
        accumulation=recipe.gradient_accumulation_steps,
        seed=recipe.seed,
        sequence_len=recipe.sequence_len,
    )
    schedule = build_schedule(recipe, plan.steps_per_epoch)
    settings = build_settings(recipe, schedule, plan.steps_per_epoch)
    optimizer = build_optimizer(recipe, built.adapter, built.causal)
    module, optimizer = accelerator.prepare(built.module, optimizer)
    module.train()
    parts = LoopParts(
        accelerator, module, optimizer, built.adapter, schedule, plan, examples, built.pack, None
    )
    return parts, settings


def time_reference(parts: LoopParts) -> float:
    """Seconds of what DPO computes beforehand, for all pairs; 0 without pairs.

    Measured at the end: while this process was built, its peers were starting too.
    """
    pairs = [example.pair for example in parts.examples if isinstance(example, ScoredPair)]
    if not pairs:
        return 0.0
    model = parts.accelerator.unwrap_model(parts.module).model
    started = time.perf_counter()
    with parts.accelerator.autocast():
        compute_reference_log_probs(model, pairs, parts.accelerator.device)
    return time.perf_counter() - started


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    commands.wait()
    parts, settings = build_parts(job)
    device.reset_peak_memory()
    commands.report(settings={}, memory_bytes=measure_peak_memory_bytes())
    step = 0
    while commands.wait() == "step":
        device.synchronize()
        started = time.perf_counter()
        report = take_step(parts, settings, step)
        device.synchronize()
        commands.report(seconds=time.perf_counter() - started, loss=report.loss)
        step += 1
    commands.report(
        memory_bytes=measure_peak_memory_bytes(),
        reference_seconds=time_reference(parts),
        state_bytes=measure_state_bytes(parts.optimizer),
    )


if __name__ == "__main__":
    main()
