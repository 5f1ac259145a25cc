"""One training run, from recipe to result folder: `luthier train`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import ProjectConfiguration
from rich.console import Console

from luthier import device
from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.update_rank import measure_update_rank
from luthier.device import Precision
from luthier.files import RunLayout
from luthier.models.load import load_tokenizer
from luthier.recipe.load import normalised
from luthier.recipe.resolve import resolve_bf16
from luthier.recipe.schema import Recipe
from luthier.train.begun import settle_precision
from luthier.train.build import (
    BuiltModel,
    build_model,
    build_optimizer,
    build_plan,
    build_schedule,
    build_settings,
    build_validation,
    check_lengths,
)
from luthier.train.checkpoint import (
    Checkpoints,
    load_base,
    load_optimizer,
    load_weights,
    read_checkpoint,
)
from luthier.train.goal import add_reference
from luthier.train.loop import LoopParts, LoopSettings, rehearse, run_loop
from luthier.train.output import check_output, claim_output, find_result, save_result, write_done
from luthier.train.prepare import PreparedData, choose_chat_template, find_cache, prepare_data
from luthier.train.progress import Recorder
from luthier.train.restarts import build_restarts
from luthier.train.start import load_exact_start
from luthier.train.state import LoopState
from luthier.train.tracking import check_trackers, start_trackers

CHECKPOINTS_KEPT = 2


class TrainOptions(NamedTuple):
    resume: bool = False
    skip_bad_rows: bool = False
    trust_remote_code: bool = False
    name: str = "train"  # shown beside the progress
    data_cache: Path | None = None
    precision: Precision | None = None  # what `bf16: auto` means, where a study has decided it


def train_recipe(recipe: Recipe, output: Path, options: TrainOptions = TrainOptions()) -> Path:  # noqa: B008
    """Train as the recipe says; returns the folder of the result.

    Raises:
        LuthierError: whatever the user can mend, before anything is half-written.
    """
    layout = RunLayout(output)
    resume = options.resume or recipe.auto_resume_from_checkpoints
    check_output(recipe, layout, resume=resume)
    if resume and layout.done.exists():
        return find_result(layout)
    device.prepare_process()
    device.allow_tf32(recipe.tf32 is not False)
    settled = settle_precision(layout, resolve_bf16(recipe), options.precision)
    precision = settled.precision
    trust = options.trust_remote_code and recipe.trust_remote_code
    tokenizer = load_tokenizer(
        recipe.base_model,
        chat_template=choose_chat_template(recipe),
        special_tokens=recipe.special_tokens,
        trust_remote_code=trust,
    )
    data = prepare_data(
        recipe,
        tokenizer.tokenizer,
        skip_bad_rows=options.skip_bad_rows,
        cache=find_cache(recipe, options.data_cache),
    )
    accelerator = build_accelerator(recipe, layout, precision)
    check_trackers(accelerator, recipe)
    built = build_model(
        recipe,
        tokenizer.tokenizer,
        precision,
        trust_remote_code=trust,
        place=accelerator.device,
    )
    check_lengths(built.causal, [*data.training, *data.validation])
    folder = find_cache(recipe, options.data_cache)
    data = add_reference(
        recipe, built.module.model, data, folder, accelerator, built.reference_digest
    )
    parts, settings = build_parts(recipe, accelerator, built, data)
    if accelerator.is_main_process:
        claim_output(recipe, layout, data, settled)
        show_notes((*tokenizer.notes, *data.notes, *built.notes))
    accelerator.wait_for_everyone()
    try:
        start_trackers(accelerator, recipe, output, normalised(recipe))
        state = train(recipe, parts, settings, layout, name=options.name, resume=resume)
        if accelerator.is_main_process:
            save_result(layout, built.adapter, tokenizer.tokenizer)
            start = partial(load_exact_start, recipe, tokenizer.tokenizer, trust_remote_code=trust)
            rank = measure_update_rank(built.adapter, start)
            write_done(layout, state, built.adapter, built.causal, rank)
        accelerator.wait_for_everyone()
    finally:
        accelerator.end_training()
    return find_result(layout)


def build_parts(
    recipe: Recipe, accelerator: Accelerator, built: BuiltModel, data: PreparedData
) -> tuple[LoopParts, LoopSettings]:
    """Everything that the loop works with."""
    plan = build_plan(recipe, data.training, accelerator.num_processes)
    schedule = build_schedule(recipe, plan.steps_per_epoch)
    settings = build_settings(recipe, schedule, plan.steps_per_epoch)
    optimizer = build_optimizer(recipe, built.adapter, built.causal)
    module, optimizer = accelerator.prepare(built.module, optimizer)
    module.train()
    parts = LoopParts(
        accelerator, module, optimizer, built.adapter, schedule, plan, data.training, built.pack,
        build_validation(recipe, data.validation, built.pack),
        build_restarts(recipe, schedule),
    )  # fmt: skip
    return parts, settings


def train(
    recipe: Recipe,
    parts: LoopParts,
    settings: LoopSettings,
    layout: RunLayout,
    *,
    name: str,
    resume: bool,
) -> LoopState:
    """Run the loop from where the folder's run stands to its end."""
    accelerator = parts.accelerator
    checkpoints = Checkpoints(
        layout.checkpoints,
        recipe.save_total_limit or CHECKPOINTS_KEPT,
        accelerator.is_main_process,
        accelerator.wait_for_everyone,
    )
    state = restore(recipe, checkpoints, parts.adapter, parts.optimizer, resume=resume)
    if device.rehearses_memory():
        notes = rehearse(parts)
        if accelerator.is_main_process:
            show_notes(notes)
    device.reset_peak_memory()
    recorder = Recorder(
        layout.metrics,
        name=name,
        total_steps=parts.schedule.total_steps,
        steps_per_epoch=parts.plan.steps_per_epoch,
        trackers=accelerator,
        active=accelerator.is_main_process,
        from_step=state.step,
    )
    with recorder:
        return run_loop(parts, settings, state, recorder, checkpoints)


def build_accelerator(recipe: Recipe, layout: RunLayout, precision: Precision) -> Accelerator:
    # accelerate keeps one state per process; an earlier run's precision must not bind this one.
    AcceleratorState._reset_state()  # pyright: ignore[reportPrivateUsage]
    return Accelerator(
        mixed_precision="bf16" if precision == "bfloat16" else "no",
        log_with=list(recipe.report_to) or None,
        project_config=ProjectConfiguration(
            project_dir=str(layout.root), logging_dir=str(layout.root / "logs")
        ),
    )


def restore(
    recipe: Recipe,
    checkpoints: Checkpoints,
    adapter: AttachedAdapter,
    optimizer: Any,
    *,
    resume: bool,
) -> LoopState:
    """The state to start from: a checkpoint's, loaded into the parts, or a fresh one."""
    saved = None
    if recipe.resume_from_checkpoint is not None:
        saved = read_checkpoint(Path(recipe.resume_from_checkpoint))
    if resume:
        saved = checkpoints.newest() or saved
    if saved is None:
        return LoopState()
    state = LoopState(**saved.loop)
    if state.base is not None:
        load_base(adapter, saved.folder, state.base)
        if saved.folder.parent != checkpoints.folder:
            # Another run's checkpoint: what it stands on may be gone by the next resume.
            checkpoints.save_base(state.base, adapter)
    load_weights(adapter, saved.folder)
    load_optimizer(optimizer, saved.folder)
    return state


def show_notes(notes: tuple[str, ...]) -> None:
    console = Console(stderr=True)
    for note in notes:
        console.print(f"note: {note}", highlight=False, markup=False)
