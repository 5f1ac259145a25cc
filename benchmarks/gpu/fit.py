"""Whether a contestant fits the device, by Luthier's planner, before it is tried.

TRL's loop of today is the planner's `transformers` with a head in chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu.cases import Case, Contestant, build_values
from benchmarks.gpu.rows import draw_pairs, draw_rows

from luthier.plan.amounts.tokens import count_tokens
from luthier.plan.figure import Figure
from luthier.plan.machine.devices import build_machine, describe_this_machine
from luthier.plan.memory.estimate import estimate_memory
from luthier.plan.model.model_config import read_facts
from luthier.plan.work.engines import ENGINES, EngineTraits
from luthier.plan.work.workload_build import build_workload
from luthier.recipe.load import parse_recipe

# A CUDA context with its libraries' kernels, and what is lost between blocks.
CONTEXT_GIB = 1.0
USABLE_SHARE = 0.95
HELD_BETWEEN_STEPS = ("weights", "optimizer", "adapter")


class Fit(NamedTuple):
    """A contestant's memory as planned, in GiB.

    Attributes:
        peak: at its fullest moment.
        held: between two turns.
        capacity: of the device.
    """

    peak: float
    held: float
    capacity: float

    @property
    def is_possible(self) -> bool:
        return self.peak <= self.capacity


def plan_fit(case: Case, contestant: Contestant, model: Path) -> Fit:
    """What the planner says of one contestant alone on this device."""
    values = build_values(case, str(model), checkpointing=contestant.checkpointing, flash=False)
    recipe = parse_recipe(values, source="benchmark").recipe
    lengths = measure_rows(case, contestant)
    counts = count_tokens(recipe, len(lengths), sum(lengths) / len(lengths), _labelled(case))
    longest = Figure(float(max(lengths)), "given", "the rows")
    workload = build_workload(
        recipe, read_facts(str(model)), counts._replace(longest_tokens=longest)
    )
    machine = build_machine(describe_this_machine(), 1, "none", None)
    memory = estimate_memory(workload, machine, choose_traits(case, contestant))
    held = sum(memory.parts[name].value for name in HELD_BETWEEN_STEPS)
    extra = 0.0
    if case.method != "full" and dict(contestant.options).get("dtype") == "float32":
        extra = 2 * workload.facts.parameters / 2**30
    return Fit(memory.allocated_gib.value + extra, held + extra, machine.device.capacity_gib.value)


def fit_beside(fits: Mapping[Contestant, Fit]) -> set[Contestant]:
    """Those that can work while the processes of all of them hold what they hold."""
    held: dict[object, float] = {}
    for contestant, fit in fits.items():
        held[contestant.process] = max(fit.held, held.get(contestant.process, 0.0))
    waiting = sum(held.values()) + CONTEXT_GIB * len(held)
    return {
        contestant
        for contestant, fit in fits.items()
        if waiting + fit.peak - held[contestant.process] <= USABLE_SHARE * fit.capacity
    }


def measure_rows(case: Case, contestant: Contestant) -> list[int]:
    """Tokens that each of a step's rows takes in the contestant's batch."""
    if case.method != "dpo":
        return [row.tokens for row in draw_rows(case.length, case.rows)]
    pairs = draw_pairs(case.length, case.rows)
    shared = contestant.peer == "luthier"
    return [pair.tokens if shared else 2 * case.length for pair in pairs]


def choose_traits(case: Case, contestant: Contestant) -> EngineTraits:
    """How the contestant's loop holds its tensors."""
    if contestant.peer == "luthier":
        return ENGINES["luthier"]
    wide = case.method == "full" and dict(contestant.options).get("dtype") != "bfloat16"
    return ENGINES["transformers"]._replace(
        logit_bytes=0, labelled_only=True, hidden_in_float32=False, trains_in_float32=wide
    )


def _labelled(case: Case) -> float:
    return 0.5 if case.labelled == "half" or case.method == "dpo" else 1.0
