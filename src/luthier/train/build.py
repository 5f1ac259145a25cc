"""A recipe's choices → the parts of the loop. Each axis is handed the few values it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from luthier.adapters.attach_lora import LoraTargets, attach_lora
from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.full import attach_full
from luthier.adapters.lora import LoraSettings
from luthier.adapters.relora import make_restartable
from luthier.data.batches import BatchPlan
from luthier.device import Precision
from luthier.errors import ModelError, TrainingError
from luthier.models.dropout import switch_dropout_off
from luthier.models.neftune import NeftuneNoise
from luthier.models.packed import PackedModel
from luthier.objectives.objective import count_totals
from luthier.optim.groups import GroupSettings, build_groups
from luthier.optim.projected_layers import check_rank, list_embeddings, select_projected
from luthier.optim.schedules import Jags, Schedule
from luthier.optim.settings import AdamSettings, OptimizerSettings, ProjectionSettings
from luthier.optim.table import OPTIMIZERS
from luthier.recipe.resolve import resolve_projection, restart_points
from luthier.recipe.schema import Recipe
from luthier.seeding import seed_everything
from luthier.train.cadence import Cadence, choose_cadence
from luthier.train.goal import build_goal, digest_reference_model
from luthier.train.loop import LoopSettings
from luthier.train.module import TrainedModule
from luthier.train.start import (
    choose_attention,
    load_exact_start,
    load_start,
    note_attention,
    note_repacking,
)
from luthier.train.validation import ValidationData

Attach = Callable[[Any, Recipe], AttachedAdapter]


class BuiltModel(NamedTuple):
    causal: Any
    module: TrainedModule
    adapter: AttachedAdapter
    notes: tuple[str, ...]
    pack: Callable[[Sequence[Any]], Any]  # examples → one micro-batch of the objective
    reference_digest: str  # of what stored reference log-probabilities are those of


def build_model(
    recipe: Recipe,
    tokenizer: Any,
    precision: Precision,
    *,
    trust_remote_code: bool,
    place: torch.device | None = None,
) -> BuiltModel:
    """Load the base model onto `place`, put the adapter on it and wrap it with the objective."""
    seed_everything(recipe.seed)
    attention, notes = choose_attention(recipe)
    causal = load_start(
        recipe, tokenizer, precision, trust_remote_code=trust_remote_code, place=place
    )
    if recipe.rl and switch_dropout_off(causal):
        notes = (*notes, f"rl: {recipe.rl} switches the base model's dropout off.")
    # On its device already: some attentions cannot be tried elsewhere.
    autocast = None if precision == "float32" else getattr(torch, precision)
    model = PackedModel(causal.to(place), attention, autocast)
    notes = (
        *notes,
        *note_attention(attention, model),
        *note_ranks(recipe, causal),
        *note_repacking(recipe),
    )
    reference_digest = digest_reference_model(recipe, causal, precision)
    # Seeded anew: what loading and probing draw must not decide how an adapter starts.
    seed_everything(recipe.seed)
    adapter = ADAPTERS[recipe.adapter](causal, recipe)
    if recipe.relora:
        exact = partial(load_exact_start, recipe, tokenizer, trust_remote_code=trust_remote_code)
        adapter = make_restartable(causal, adapter, exact)
    if (recipe.gradient_checkpointing_kwargs or {}).get("use_reentrant"):
        notes = (*notes, "use_reentrant: true changes no result; the other way is always taken.")
    if recipe.gradient_checkpointing:
        # transformers renamed it in the course of version 5.
        enable = getattr(causal, "activation_checkpointing_enable", None)
        (enable or causal.gradient_checkpointing_enable)({"use_reentrant": False})
    alpha = recipe.neftune_noise_alpha
    noise = NeftuneNoise(causal, alpha) if alpha is not None else None
    goal = build_goal(recipe, model)
    module = TrainedModule(model, goal.objective, noise)
    return BuiltModel(causal, module, adapter, notes, goal.pack, reference_digest)


def check_lengths(causal: Any, examples: Sequence[Any]) -> None:
    """Raise ModelError when an example is longer than the model can read."""
    limit = getattr(causal.config.get_text_config(), "max_position_embeddings", None)
    longest = max(examples, key=lambda example: example.sequence_tokens)
    if limit is not None and longest.sequence_tokens > limit:
        raise ModelError(
            f"example {longest.id} has {longest.sequence_tokens} tokens, the model reads at most "
            f"{limit}. Write sequence_len: {limit}, or less."
        )


def note_ranks(recipe: Recipe, causal: Any) -> tuple[str, ...]:
    """What to say of weights that the recipe's optimizer does not make smaller.

    Raises:
        ModelError: it would make none smaller.
    """
    wanted = resolve_projection(recipe)
    if wanted is None:
        return ()
    targets = select_projected(causal, wanted.target_modules, f"{wanted.family}_target_modules")
    return check_rank(causal, targets, wanted.rank, f"{wanted.family}_rank")


def _attach_full(causal: Any, _recipe: Recipe) -> AttachedAdapter:
    return attach_full(causal)


def _attach_lora(causal: Any, recipe: Recipe) -> AttachedAdapter:
    assert recipe.lora_r is not None
    assert recipe.lora_alpha is not None
    settings = LoraSettings(
        rank=recipe.lora_r,
        alpha=recipe.lora_alpha,
        dropout=recipe.lora_dropout,
        scaling="alpha/sqrt(rank)" if recipe.peft_use_rslora else "alpha/rank",
        magnitude=recipe.peft_use_dora,
    )
    targets = LoraTargets(recipe.lora_target_modules, recipe.lora_target_linear)
    return attach_lora(causal, settings, targets, base_model=recipe.base_model)


ADAPTERS: dict[str | None, Attach] = {
    None: _attach_full,
    "lora": _attach_lora,
    "qlora": _attach_lora,
}


def build_optimizer(recipe: Recipe, adapter: AttachedAdapter, causal: Any) -> torch.optim.Optimizer:
    """The recipe's optimizer; `causal` tells which weights are embeddings and which projected."""
    groups = build_groups(
        adapter.parameters,
        adapter.roles,
        GroupSettings(recipe.learning_rate, recipe.weight_decay, recipe.loraplus_lr_ratio),
    )
    adam = AdamSettings(recipe.adam_beta1, recipe.adam_beta2, recipe.adam_epsilon)
    settings = OptimizerSettings(
        adam, _projection_settings(recipe, causal), list_embeddings(causal)
    )
    return OPTIMIZERS[recipe.optimizer](groups, settings)


def _projection_settings(recipe: Recipe, causal: Any) -> ProjectionSettings | None:
    wanted = resolve_projection(recipe)
    if wanted is None:
        return None
    return ProjectionSettings(
        select_projected(causal, wanted.target_modules, f"{wanted.family}_target_modules"),
        wanted.rank,
        wanted.update_proj_gap,
        wanted.scale,
        wanted.proj_type,
        "random" if wanted.proj == "random" else wanted.svd,
        wanted.scale_type or "channel",
        recipe.seed,
    )


def build_plan(recipe: Recipe, examples: Sequence[Any], processes: int) -> BatchPlan:
    return BatchPlan(
        [example.tokens for example in examples],
        micro_batch_size=recipe.micro_batch_size,
        accumulation=recipe.gradient_accumulation_steps * processes,
        seed=recipe.seed,
        sequence_len=recipe.sequence_len,
        sample_packing=recipe.sample_packing,
        group_by_length=recipe.group_by_length,
    )


def build_schedule(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    total = recipe.max_steps or max(1, math.ceil(recipe.num_epochs * steps_per_epoch))
    warmup = recipe.warmup_steps
    if warmup is None:
        warmup = round((recipe.warmup_ratio or 0.0) * total)
    jags = Jags(
        restart_points(recipe, total),
        recipe.jagged_restart_warmup_steps,
        recipe.jagged_restart_anneal_steps,
    )
    return Schedule(recipe.lr_scheduler, total, warmup, recipe.cosine_min_lr_ratio or 0.0, jags)


def build_settings(recipe: Recipe, schedule: Schedule, steps_per_epoch: int) -> LoopSettings:
    """The loop's cadences and limits.

    Raises:
        TrainingError: a cadence that would never fire in this run.
    """
    for key in ("eval_steps", "save_steps"):
        every = getattr(recipe, key)
        if every is not None and every > schedule.total_steps:
            raise TrainingError(
                f"{key}: {every} never fires, the run has only {schedule.total_steps} steps. "
                f"Lower {key}, or train longer."
            )
    return LoopSettings(
        seed=recipe.seed,
        max_grad_norm=recipe.max_grad_norm,
        logging=Cadence(recipe.logging_steps),
        evaluation=choose_cadence(recipe.eval_steps, recipe.evals_per_epoch, steps_per_epoch),
        saving=choose_cadence(recipe.save_steps, recipe.saves_per_epoch, steps_per_epoch),
        patience=recipe.early_stopping_patience,
    )


def build_validation(
    recipe: Recipe, examples: Sequence[Any], pack: Callable[[Sequence[Any]], Any]
) -> ValidationData | None:
    if not examples:
        return None
    plan = BatchPlan(
        [example.tokens for example in examples],
        micro_batch_size=recipe.eval_batch_size,
        accumulation=1,
        seed=0,
        sequence_len=recipe.sequence_len,
        sample_packing=recipe.eval_sample_packing,
    )
    steps = range(plan.steps_per_epoch)
    batches = [pack([examples[i] for i in plan.micro_batches_of_step(step)[0]]) for step in steps]
    return ValidationData(batches, count_totals(examples))
