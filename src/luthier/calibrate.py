"""`luthier calibrate`: real steps of a recipe on this machine, measured and remembered.

A plan's model of a step is good to some 20%; the same job on the same GPU two days apart differed
by 26%. A dozen real steps here know better, and later plans of the same machine, model and method
take them.
"""

from __future__ import annotations

import datetime
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from luthier import device
from luthier.errors import TrainingError
from luthier.files import RunLayout, explained_output_errors, make_directory
from luthier.models.load import load_tokenizer
from luthier.models.places import find_root
from luthier.plan.machine.devices import describe_this_machine
from luthier.plan.model.model_config import read_facts
from luthier.plan.time.calibration import (
    Calibration,
    Load,
    describe_calibration,
    describe_machine,
    describe_method,
    describe_model,
    find_store,
)
from luthier.precision import choose_precision
from luthier.recipe.resolve import projection_family, resolve_bf16
from luthier.recipe.schema import Recipe
from luthier.train.build import build_model, check_lengths
from luthier.train.goal import add_reference
from luthier.train.loop import LoopParts, LoopSettings, rehearse, take_step
from luthier.train.prepare import choose_chat_template, find_cache, prepare_data
from luthier.train.run import build_accelerator, build_parts

# Kernels are compiled, caches filled and memory is claimed in the first steps.
WARM_UP_STEPS = 3
FEWEST_STEPS = WARM_UP_STEPS + 2
USUAL_STEPS = 15


class _Prepared(NamedTuple):
    parts: LoopParts
    settings: LoopSettings


class _Step(NamedTuple):
    seconds: float
    tokens: int  # of all devices
    supervised_tokens: int
    projects: bool  # finds a new projection


def calibrate(
    recipe: Recipe,
    steps: int = USUAL_STEPS,
    *,
    store: Path | None = None,
    skip_bad_rows: bool = False,
    trust_remote_code: bool = False,
) -> Calibration:
    """Train `steps` real steps of `recipe` here, measure them and write a line of the store.

    Nothing is evaluated, and nothing is kept but that line. On a processor the peak is that of the
    whole process, which should have done nothing else before.

    Args:
        store: the file of calibrations; the user's own when absent.

    Raises:
        TrainingError: too few steps to measure anything.
        PlanError: this machine's GPU is not in the table of devices.
        LuthierError: whatever would stop training the recipe.
    """
    if steps < FEWEST_STEPS:
        raise TrainingError(
            f"{steps} steps are too few: the first {WARM_UP_STEPS} are not counted. "
            f"Give --steps {FEWEST_STEPS} or more."
        )
    describe_this_machine()  # a GPU that is not in the table is refused now, not after the steps
    shortened = _shorten(recipe, steps)
    with tempfile.TemporaryDirectory(prefix="luthier-calibrate-") as folder:
        prepared = _prepare(
            shortened,
            Path(folder),
            skip_bad_rows=skip_bad_rows,
            trust_remote_code=trust_remote_code and recipe.trust_remote_code,
        )
        device.reset_peak_memory()
        rehearse(prepared.parts)
        measured = _take_steps(prepared, steps, _gap_of(shortened))
    calibration = _summarise(recipe, prepared.parts, measured)
    if prepared.parts.accelerator.is_main_process:
        _append(store or find_store(), calibration)
    return calibration


def _shorten(recipe: Recipe, steps: int) -> Recipe:
    """The recipe without validation, trackers and checkpoints.

    A projection is made anew every few steps, so that what it costs is seen apart.
    """
    changes: dict[str, Any] = {
        "val_set_size": 0,
        "test_datasets": None,
        "eval_steps": None,
        "evals_per_epoch": None,
        "save_steps": None,
        "saves_per_epoch": None,
        "report_to": (),
        "early_stopping_patience": None,
        "max_steps": steps,
        "resume_from_checkpoint": None,
    }
    family = projection_family(recipe.optimizer)
    if family is not None:
        key = f"{family}_update_proj_gap"
        changes[key] = min(getattr(recipe, key), max(2, steps // 3))
    return recipe.model_copy(update=changes)


def _gap_of(recipe: Recipe) -> int | None:
    family = projection_family(recipe.optimizer)
    return None if family is None else int(getattr(recipe, f"{family}_update_proj_gap"))


def _prepare(
    recipe: Recipe, folder: Path, *, skip_bad_rows: bool, trust_remote_code: bool
) -> _Prepared:
    """Everything that training this recipe works with."""
    device.prepare_process()
    device.allow_tf32(recipe.tf32 is not False)
    precision = choose_precision(resolve_bf16(recipe))
    tokenizer = load_tokenizer(
        recipe.base_model,
        chat_template=choose_chat_template(recipe),
        special_tokens=recipe.special_tokens,
        trust_remote_code=trust_remote_code,
    )
    cache = find_cache(recipe, None)
    data = prepare_data(recipe, tokenizer.tokenizer, skip_bad_rows=skip_bad_rows, cache=cache)
    accelerator = build_accelerator(recipe, RunLayout(folder), precision)
    built = build_model(
        recipe,
        tokenizer.tokenizer,
        precision,
        trust_remote_code=trust_remote_code,
        place=accelerator.device,
    )
    check_lengths(built.causal, data.training)
    model = built.module.model
    data = add_reference(recipe, model, data, cache, accelerator, built.reference_digest)
    return _Prepared(*build_parts(recipe, accelerator, built, data))


def _take_steps(prepared: _Prepared, steps: int, gap: int | None) -> list[_Step]:
    """All steps but those of warm-up; a new projection's are told apart."""
    taken: list[_Step] = []
    for number in range(steps):
        device.synchronize()
        started = time.perf_counter()
        report = take_step(prepared.parts, prepared.settings, number)
        device.synchronize()
        seconds = time.perf_counter() - started
        projects = gap is not None and number % gap == 0
        taken.append(_Step(seconds, report.tokens, report.supervised_tokens, projects))
    return taken[WARM_UP_STEPS:]


def _summarise(recipe: Recipe, parts: LoopParts, measured: Sequence[_Step]) -> Calibration:
    accelerator = parts.accelerator
    count = accelerator.num_processes
    plain = [step for step in measured if not step.projects]
    projecting = [step.seconds for step in measured if step.projects]
    tokens = sum(step.tokens for step in plain)
    # By the token, since steps differ in length; the median, since other programs run here too.
    per_token = statistics.median(step.seconds / step.tokens for step in plain)
    seconds = per_token * tokens / len(plain)
    micro_batches = len(plain) * recipe.gradient_accumulation_steps * count
    lengths = [example.tokens for example in parts.examples]
    longest = sum(lengths[place] for place in parts.plan.longest_micro_batch())
    return Calibration(
        machine=describe_machine(describe_this_machine(), count, "none" if count == 1 else "ddp"),
        model=describe_model(read_facts(find_root(recipe.base_model))),
        method=describe_method(recipe),
        load=Load(
            tokens / micro_batches,
            longest,
            statistics.fmean(lengths),
            sum(step.supervised_tokens for step in plain) / tokens,
            recipe.gradient_accumulation_steps,
        ),
        steps=len(plain),
        step_seconds=seconds,
        projection_seconds=max(0.0, statistics.fmean(projecting) - seconds) if projecting else 0.0,
        peak_memory_bytes=device.measure_peak_memory_bytes(),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _append(store: Path, calibration: Calibration) -> None:
    make_directory(store.parent)
    line = json.dumps(describe_calibration(calibration)) + "\n"
    with explained_output_errors(store), store.open("a", encoding="utf-8") as file:
        file.write(line)
