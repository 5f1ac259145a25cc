"""One training run, from recipe to result folder: `luthier train`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from rich.console import Console

from luthier import device, provenance
from luthier.adapters.attached import AttachedAdapter
from luthier.errors import OutputError
from luthier.files import RunLayout, make_directory, staged_directory, write_json, write_text
from luthier.models.load import load_tokenizer, locate_model
from luthier.recipe.load import dump_recipe, load_recipe, normalised
from luthier.recipe.schema import Recipe
from luthier.train.build import (
    build_model,
    build_optimizer,
    build_plan,
    build_schedule,
    build_settings,
    build_validation,
)
from luthier.train.checkpoint import Checkpoints, load_optimizer, load_weights, read_checkpoint
from luthier.train.loop import LoopParts, LoopState, rehearse, run_loop
from luthier.train.prepare import PreparedData, prepare_data
from luthier.train.progress import Recorder
from luthier.train.tracking import start_trackers

CHECKPOINTS_KEPT = 2


class TrainOptions(NamedTuple):
    resume: bool = False
    skip_bad_rows: bool = False
    trust_remote_code: bool = False
    name: str = "train"  # shown beside the progress
    data_cache: Path | None = None


def train_recipe(recipe: Recipe, output: Path, options: TrainOptions = TrainOptions()) -> Path:  # noqa: B008
    """Train as the recipe says; returns the folder of the result.

    Raises:
        LuthierError: whatever the user can mend, before anything is half-written.
    """
    layout = RunLayout(output)
    resume = options.resume or recipe.auto_resume_from_checkpoints
    if resume and layout.done.exists():
        check_same_recipe(recipe, layout)
        return find_result(layout)
    device.prepare_process()
    if recipe.tf32 is not False:
        device.allow_tf32(True)
    precision = device.choose_precision(recipe.bf16)
    trust = options.trust_remote_code and recipe.trust_remote_code
    tokenizer = load_tokenizer(
        recipe.base_model,
        chat_template=recipe.chat_template,
        special_tokens=recipe.special_tokens,
        trust_remote_code=trust,
    )
    data = prepare_data(
        recipe,
        tokenizer.tokenizer,
        skip_bad_rows=options.skip_bad_rows,
        cache=options.data_cache,
    )
    built = build_model(recipe, tokenizer.tokenizer, precision, trust_remote_code=trust)
    claim_output(recipe, layout, resume=resume)

    accelerator = build_accelerator(recipe, layout, precision)
    plan = build_plan(recipe, data.training, accelerator.num_processes)
    schedule = build_schedule(recipe, plan.steps_per_epoch)
    settings = build_settings(recipe, schedule, plan.steps_per_epoch)
    optimizer = build_optimizer(recipe, built.adapter)
    module, optimizer = accelerator.prepare(built.module, optimizer)
    module.train()
    parts = LoopParts(
        accelerator, module, optimizer, built.adapter, schedule, plan, data.training,
        build_validation(recipe, data.validation),
    )  # fmt: skip
    checkpoints = Checkpoints(
        layout.checkpoints,
        recipe.save_total_limit or CHECKPOINTS_KEPT,
        accelerator.is_main_process,
        accelerator.wait_for_everyone,
    )
    state = restore(recipe, checkpoints, built.adapter, optimizer, resume=resume)
    if accelerator.is_main_process:
        show_notes((*tokenizer.notes, *data.notes, *built.notes))
        write_provenance(layout, recipe, data)
    start_trackers(accelerator, recipe, output, normalised(recipe))
    if device.rehearses_memory():
        rehearse(parts)
    device.reset_peak_memory()
    recorder = Recorder(
        layout.metrics,
        name=options.name,
        total_steps=schedule.total_steps,
        steps_per_epoch=plan.steps_per_epoch,
        trackers=accelerator,
        active=accelerator.is_main_process,
        from_step=state.step,
    )
    with recorder:
        state = run_loop(parts, settings, state, recorder, checkpoints)
    accelerator.end_training()
    if accelerator.is_main_process:
        save_result(layout, built.adapter, tokenizer.tokenizer)
        write_done(layout, state, built.adapter, built.causal)
    accelerator.wait_for_everyone()
    return find_result(layout)


def build_accelerator(
    recipe: Recipe, layout: RunLayout, precision: device.Precision
) -> Accelerator:
    return Accelerator(
        mixed_precision="bf16" if precision == "bfloat16" else "no",
        log_with=list(recipe.report_to) or None,
        project_config=ProjectConfiguration(
            project_dir=str(layout.root), logging_dir=str(layout.root / "logs")
        ),
    )


def claim_output(recipe: Recipe, layout: RunLayout, *, resume: bool) -> None:
    """Freeze the recipe into the run's folder; raises OutputError when another run lies there."""
    if layout.recipe.exists():
        if not resume:
            raise OutputError(
                f"{layout.root} already holds a run. Add --resume to go on with it, choose another "
                "--output, or delete it."
            )
        check_same_recipe(recipe, layout)
    make_directory(layout.root)
    write_text(layout.recipe, dump_recipe(recipe))


def check_same_recipe(recipe: Recipe, layout: RunLayout) -> None:
    """Raise OutputError, naming the keys, when the folder's run has another recipe."""
    before, now = normalised(load_recipe(layout.recipe).recipe), normalised(recipe)
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if changed:
        raise OutputError(
            f"{layout.root} holds a run with another {', '.join(changed)}. Choose another "
            "--output, or restore the recipe."
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
    load_weights(adapter, saved.folder)
    load_optimizer(optimizer, saved.folder)
    return LoopState(**saved.loop)


def save_result(layout: RunLayout, adapter: AttachedAdapter, tokenizer: Any) -> None:
    """Write the adapter or model, with the tokenizer and chat template it was trained on."""
    with staged_directory(layout.root / adapter.result) as staged:
        adapter.save(staged)
        tokenizer.save_pretrained(staged)


def write_done(layout: RunLayout, state: LoopState, adapter: AttachedAdapter, causal: Any) -> None:
    trainable = sum(parameter.numel() for parameter in adapter.parameters.values())
    added = 0 if adapter.result == "model" else trainable
    write_json(
        layout.done,
        {
            "status": "done",
            "steps": state.step,
            "seconds": state.seconds,
            "tokens": state.tokens,
            "supervised_tokens": state.supervised_tokens,
            "tokens_per_second": state.tokens / max(state.seconds, 1e-9),
            "peak_memory_bytes": device.measure_peak_memory_bytes(),
            "trainable_parameters": trainable,
            "total_parameters": sum(p.numel() for p in causal.parameters()) - added,
            "final_loss": state.last_loss,
            "val_loss": state.last_val_loss,
        },
    )
    # Checkpoints exist to survive a crash; the result is on disk now.
    shutil.rmtree(layout.checkpoints, ignore_errors=True)


def write_provenance(layout: RunLayout, recipe: Recipe, data: PreparedData) -> None:
    write_json(
        layout.provenance,
        {
            **provenance.describe_environment(),
            "data": {"sha256": data.digest, "training_examples": len(data.training),
                     "validation_examples": len(data.validation)},
            "model": {
                "name": recipe.base_model,
                "sha256": provenance.digest_model(Path(locate_model(recipe.base_model))),
            },
        },
    )  # fmt: skip


def show_notes(notes: tuple[str, ...]) -> None:
    console = Console(stderr=True)
    for note in notes:
        console.print(f"note: {note}", highlight=False, markup=False)


def find_result(layout: RunLayout) -> Path:
    """The folder with the trained adapter or model of a finished run."""
    return layout.adapter if layout.adapter.exists() else layout.model
