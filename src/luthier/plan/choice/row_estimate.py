"""Memory, time and cost of a changed recipe on another machine, from the same model and data."""

from __future__ import annotations

from luthier.plan.amounts.tokens import TokenCount
from luthier.plan.choice.advice import Change, Reading, find_changes
from luthier.plan.choice.fit_steps import Around, Setting
from luthier.plan.choice.options import Estimator, RowEstimate
from luthier.plan.cost import estimate_cost
from luthier.plan.figure import Figure, weakest
from luthier.plan.machine.devices import DEVICES
from luthier.plan.machine.hardware import Machine
from luthier.plan.memory.estimate import estimate_memory
from luthier.plan.model.model_facts import ModelFacts
from luthier.plan.model.smaller_models import find_smaller
from luthier.plan.time.estimate import estimate_time
from luthier.plan.time.evaluation_time import EvaluationLoad
from luthier.plan.work.workload import Engine, Workload
from luthier.plan.work.workload_build import build_workload
from luthier.recipe.schema import Recipe


def build_estimator(
    facts: ModelFacts,
    counts: TokenCount,
    engine: Engine = "luthier",
    evaluation: EvaluationLoad | None = None,
) -> Estimator:
    """What `options.list_options` asks for each of its rows.

    Args:
        evaluation: the tasks that every row is scored on.
    """

    def estimate(recipe: Recipe, machine: Machine) -> RowEstimate:
        workload = build_workload(recipe, facts, counts, engine, machine.count)
        memory = estimate_memory(workload, machine)
        time = estimate_time(workload, machine, evaluation)
        around = (time.evaluation_hours, time.other_hours)
        fixed = Figure(
            sum(part.value for part in around), weakest(*around), "evaluation, loading, saving"
        )
        usd = estimate_cost(time, machine).usd
        return RowEstimate(
            memory.allocated_gib, memory.capacity_gib, memory.fits, time.train_hours, fixed, usd
        )

    return estimate


def make_it_fit(workload: Workload, machine: Machine, counts: TokenCount) -> tuple[Change, ...]:
    """The smallest changes after which `workload` fits `machine`, in the order of their cost.

    Empty where it fits well; where it is tight, changes that make it fit well. Each is verified
    by the whole memory estimate of the changed recipe.
    """

    def measure(setting: Setting) -> Reading:
        changed = build_workload(
            setting.recipe, setting.facts, counts, workload.engine, setting.machine.count
        )
        memory = estimate_memory(changed, setting.machine)
        return Reading(memory.allocated_gib, memory.fits)

    around = Around(
        counts.longest_tokens.value if counts.longest_tokens.basis != "assumed" else None,
        tuple(DEVICES.values()),
        find_smaller(workload.facts),
    )
    return find_changes(Setting(workload.recipe, workload.facts, machine), around, measure)
