"""When the update is merged into the frozen weights and begun anew, and what that takes.

A restart is a function of seed and step, as all randomness here: a resumed run repeats it exactly.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from luthier.adapters.attached import AttachedAdapter
from luthier.errors import TrainingError
from luthier.optim.prune import Pruning, prune_moments
from luthier.optim.schedules import Schedule
from luthier.recipe.schema import Recipe
from luthier.seeding import derive_seed


class Restarts(NamedTuple):
    after_steps: frozenset[int]
    pruning: Pruning
    seed: int

    def due(self, step: int) -> bool:
        """Whether a restart is due after optimizer step `step` (1-based)."""
        return step in self.after_steps

    def perform(self, step: int, adapter: AttachedAdapter, optimizer: Any) -> None:
        """Merge, begin anew, prune the optimizer's moments."""
        assert adapter.base is not None, "only an adapter on a base that moves can restart"
        adapter.base.restart(derive_seed("restart", self.seed, step))
        parameters = adapter.parameters.values()
        draw = derive_seed("prune", self.seed, step)
        prune_moments(optimizer, parameters, self.pruning, draw)


def build_restarts(recipe: Recipe, schedule: Schedule) -> Restarts | None:
    """When ReLoRA merges and begins anew, and what it leaves of the optimizer; None without it.

    Raises:
        TrainingError: a run too short for a restart, or for the ramps around one.
    """
    if not recipe.relora:
        return None
    points, total = schedule.jags.restarts, schedule.total_steps
    if not points:
        raise TrainingError(
            f"relora: true never restarts, the run has only {total} steps. Lower "
            "jagged_restart_steps or relora_iterations, train longer, or remove relora."
        )
    shortest = min(end - start for start, end in pairwise((0, *points, total)))
    ramps = schedule.jags.warmup_steps + schedule.jags.anneal_steps
    if len(points) > 1 and ramps > shortest:
        raise TrainingError(
            f"jagged_restart_warmup_steps and jagged_restart_anneal_steps make {ramps} steps, a "
            f"part between two restarts has {shortest}. Lower them, or restart less often."
        )
    pruning = Pruning(recipe.relora_prune_method, recipe.relora_prune_ratio)
    return Restarts(frozenset(points), pruning, recipe.seed)
