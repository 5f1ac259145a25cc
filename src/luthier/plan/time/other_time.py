"""Seconds around the optimizer steps: starting, loading, preparing, saving."""

from __future__ import annotations

import math

from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Machine
from luthier.plan.time.evaluation_time import forward_seconds
from luthier.plan.time.optimizer_work import weight_number_bytes
from luthier.plan.work.workload import Workload
from luthier.recipe.resolve import resolve_projection, restart_points

# Importing torch and transformers, starting the device.
START_SECONDS = 15.0
# A local solid-state disk, and the page cache behind it.
READ_GB_S, WRITE_GB_S = 1.5, 0.8
# Fast tokenizers on one processor core, template and loss mask included.
TOKENISED_PER_SECOND = 200_000
# Adam's two moments beside a weight in float32.
MOMENTS_BYTES = 8
# A reference model's log-probabilities are computed for every pair once.
_WITH_REFERENCE = frozenset({"dpo", "ipo"})


def other_seconds(workload: Workload, machine: Machine) -> Figure:
    """Seconds of everything but steps and scoring; disks and loading speed are typical values."""
    recipe, facts = workload.recipe, workload.facts
    stored = 4 if facts.weights_dtype == "float32" else 2
    loading = facts.parameters * stored / (READ_GB_S * 1e9)
    per_epoch = workload.examples.value * workload.example_tokens.value
    tokenising = per_epoch / TOKENISED_PER_SECOND
    result = workload.trainable * weight_number_bytes(workload)
    written = result + _checkpoints(workload) * (result + _moment_bytes(workload))
    restarts = len(restart_points(recipe, int(workload.optimizer_steps.value)))
    # A restart writes the merged model before training goes on.
    written += restarts * facts.parameters * 4
    reference = 0.0
    if (
        recipe.rl in _WITH_REFERENCE
        and recipe.precompute_ref_log_probs
        and workload.engine == "luthier"
    ):
        pairs = per_epoch + workload.validation_tokens.value
        reference = forward_seconds(workload, machine.device, pairs)
    seconds = START_SECONDS + loading + tokenising + written / (WRITE_GB_S * 1e9) + reference
    return Figure(seconds, "assumed", "starting, loading, preparing, saving")


def _moment_bytes(workload: Workload) -> float:
    projection = resolve_projection(workload.recipe)
    # What is projected has moments of a fraction of its weights.
    share = 1.0 if projection is None else projection.rank / workload.facts.width
    return workload.trainable * MOMENTS_BYTES * min(1.0, share)


def count_epochs(workload: Workload) -> float:
    """Passes over the training data, from the tokens."""
    per_epoch = workload.examples.value * workload.example_tokens.value
    if per_epoch:
        return workload.tokens.value / per_epoch
    return workload.recipe.num_epochs


def _checkpoints(workload: Workload) -> int:
    """How many are written: every so many steps, else so often an epoch, and at the end."""
    recipe = workload.recipe
    if recipe.save_steps is not None:
        return math.ceil(workload.optimizer_steps.value / recipe.save_steps)
    return max(1, math.ceil(count_epochs(workload) * (recipe.saves_per_epoch or 1)))
