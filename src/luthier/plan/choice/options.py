"""The choice under a budget: every method on every machine, with what it takes and may give."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from luthier.plan.choice.methods import Candidate, list_candidates
from luthier.plan.choice.pareto import Outcome, find_pareto
from luthier.plan.choice.recipe_changes import spread_batch
from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Device, DeviceKind, Machine, Sharding
from luthier.plan.outcome.own_results import OwnResult
from luthier.plan.outcome.quality import Quality, expect_quality
from luthier.recipe.schema import Recipe

COUNTS = (1, 2, 4, 8)
# A processor is one device, and of machines with shared memory two are sold to be linked.
_MOST: Mapping[DeviceKind, int] = {"cpu": 1, "unified": 2}
# The way of sharing that a row is planned with: copies where the model fits one device, which
# talk least, and a full shard where it does not.
SHARDINGS: tuple[Sharding, ...] = ("ddp", "fsdp")

Fits = Literal["yes", "tight", "no"]


class RowEstimate(NamedTuple):
    """What one recipe takes on one machine.

    Attributes:
        allocated_gib: peak of one device.
        capacity_gib: of one device.
        fits: whether that is enough.
        train_hours: of the training.
        fixed_hours: of loading, evaluation and saving.
        usd: of both; None without a price.
    """

    allocated_gib: Figure
    capacity_gib: Figure
    fits: Fits
    train_hours: Figure
    fixed_hours: Figure
    usd: Figure | None

    @property
    def hours(self) -> float:
        """Of the whole run."""
        return self.train_hours.value + self.fixed_hours.value


Estimator = Callable[[Recipe, Machine], RowEstimate]


class Option(NamedTuple):
    """One row of the choice.

    Attributes:
        title: the method.
        candidate: the changed recipe and what was changed.
        machine: where it runs.
        estimate: what it takes there.
        quality: what it is expected to score; None where nothing is known.
        feasible: whether it fits the memory, the budget and the deadline.
        obstacle: what it does not fit, in a word or two; empty where it is feasible.
        pareto: whether no feasible row is at least as good, as fast and as cheap.
    """

    title: str
    candidate: Candidate
    machine: Machine
    estimate: RowEstimate
    quality: Quality | None
    feasible: bool
    obstacle: str
    pareto: bool


def list_options(
    recipe: Recipe,
    devices: Sequence[Device],
    estimate: Estimator,
    *,
    data: str = "",
    own: Sequence[OwnResult] = (),
    budget_usd: float | None = None,
    deadline_hours: float | None = None,
    counts: Sequence[int] = COUNTS,
    recipe_devices: int = 1,
) -> tuple[Option, ...]:
    """All rows of method × device × count, Pareto-optimal ones marked.

    Args:
        recipe: the user's; methods are changes to it.
        devices: those to choose from. One without a price is a row only where neither a budget
            asks for dollars: what costs an unknown sum cannot be held against one.
        estimate: memory, time and cost of a recipe on a machine.
        data: name of the rows (`data_names.name_rows`), by which results are found.
        own: results of the user's own studies.
        counts: how many devices a row may have.
        recipe_devices: how many the recipe's batch is meant for. On another number the
            accumulation is divided, so that an optimizer step stays the same wherever it can.

    Returns:
        The feasible rows, methods in the table's order and each method's cheapest machine first;
        then the others with what stands in their way.
    """
    priced = [device for device in devices if budget_usd is None or device.usd_per_hour is not None]
    rows: list[Option] = []
    for candidate in list_candidates(recipe):
        quality = expect_quality(candidate.method, recipe.base_model, data, own)
        for device in priced:
            for count in _possible(counts, device):
                on_count = spread_batch(candidate.recipe, recipe_devices, count)
                machine, taken = _choose_sharding(on_count, device, count, estimate)
                obstacle = _find_obstacle(taken, budget_usd, deadline_hours)
                rows.append(
                    Option(
                        candidate.title,
                        candidate,
                        machine,
                        taken,
                        quality,
                        not obstacle,
                        obstacle,
                        pareto=False,
                    )
                )
    return _in_order(_mark(rows))


def _possible(counts: Sequence[int], device: Device) -> list[int]:
    return [count for count in counts if count <= _MOST.get(device.kind, max(counts))]


def name_machine(machine: Machine) -> str:
    """`2 × H200 fsdp`; copies, which are the usual way, are not named."""
    sharding = "" if machine.sharding in ("none", "ddp") else f" {machine.sharding}"
    return f"{machine.count} × {machine.device.name}{sharding}"


def _choose_sharding(
    recipe: Recipe, device: Device, count: int, estimate: Estimator
) -> tuple[Machine, RowEstimate]:
    """The first way of sharing that fits, or the last one where none does."""
    ways: tuple[Sharding, ...] = ("none",) if count == 1 else SHARDINGS
    tried = [(machine := _build(device, count, way), estimate(recipe, machine)) for way in ways[:1]]
    for way in ways[1:]:
        if tried[-1][1].fits == "yes":
            break
        machine = _build(device, count, way)
        tried.append((machine, estimate(recipe, machine)))
    return tried[-1]


def _build(device: Device, count: int, sharding: Sharding) -> Machine:
    price = device.usd_per_hour
    together = None if price is None else price._replace(value=count * price.value)
    return Machine(device, count, sharding, together)


def _find_obstacle(
    taken: RowEstimate, budget_usd: float | None, deadline_hours: float | None
) -> str:
    if taken.fits == "no":
        return "memory"
    over_budget = budget_usd is not None and taken.usd is not None and taken.usd.value > budget_usd
    late = deadline_hours is not None and taken.hours > deadline_hours
    return " and ".join(
        word for word, stands in (("budget", over_budget), ("deadline", late)) if stands
    )


def _mark(rows: Sequence[Option]) -> list[Option]:
    feasible = [index for index, row in enumerate(rows) if row.feasible]
    front = find_pareto([_outcome(rows[index]) for index in feasible])
    marked = {index for index, on_front in zip(feasible, front, strict=True) if on_front}
    return [row._replace(pareto=index in marked) for index, row in enumerate(rows)]


def _outcome(row: Option) -> Outcome:
    usd = row.estimate.usd.value if row.estimate.usd is not None else None
    if row.quality is None:
        return Outcome(row.title, row.estimate.hours, usd)
    quality = row.quality
    return Outcome(
        row.title, row.estimate.hours, usd, quality.goodness, quality.scale, quality.spread
    )


def _in_order(rows: Sequence[Option]) -> tuple[Option, ...]:
    titles = list(dict.fromkeys(row.title for row in rows))

    def place(row: Option) -> tuple[bool, int, float, float]:
        usd = row.estimate.usd
        dollars = usd.value if usd is not None else math.inf
        return not row.feasible, titles.index(row.title), dollars, row.estimate.hours

    return tuple(sorted(rows, key=place))
