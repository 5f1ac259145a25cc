"""What the plan said beside what the runs took: `plan.json` against `done.json`, arm by arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from luthier.errors import DataError, PlanError
from luthier.files import read_json
from luthier.plan.machine.devices import find_device
from luthier.report.costs import Cost, format_bytes, format_seconds, summarise_cost
from luthier.report.results import ArmResults, StudyResults
from luthier.study.planned import PLAN_FILE


@dataclass(frozen=True)
class Comparison:
    """One quantity of one arm, planned and measured.

    Attributes:
        what: `training time`, `peak memory` or `cost of training`.
        planned, measured: as they are read.
        off: by how much the measured value is above the planned one, as a share.
        basis: what the planned value rested on; empty where the plan does not say.
    """

    what: str
    planned: str
    measured: str
    off: float
    basis: str


@dataclass(frozen=True)
class ArmPrediction:
    """One arm whose runs have ended; `comparisons` holds what both sides know."""

    arm: str
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Predictions:
    """All arms, and where the plan was made for another machine than the runs had."""

    arms: tuple[ArmPrediction, ...]
    notes: tuple[str, ...]


def read_predictions(results: StudyResults) -> Predictions:
    """Set the study's `plan.json` beside its results; empty where there is none to read.

    Only training is compared, which is what both sides know: the plan's evaluation, loading and
    saving are left out of its hours and dollars. Dollars are worked out from both times with the
    plan's price. Several seeds count with their mean.
    """
    planned = _read_plan(results)
    arms: list[ArmPrediction] = []
    notes: list[str] = []
    for arm in results.arms:
        plan, cost = planned.get(arm.name), summarise_cost(arm)
        if plan is None or not cost.runs:
            continue
        comparisons = _compare(plan, cost)
        if comparisons:
            arms.append(ArmPrediction(arm.name, comparisons))
            notes += _name_other_machine(plan, arm)
    return Predictions(tuple(arms), tuple(dict.fromkeys(notes)))


def format_off(off: float) -> str:
    """`+8%`, `−12%`: how far the measured value lies from the planned one."""
    return f"{100 * off:+.0f}%".replace("-", "−")


def format_usd(usd: float) -> str:
    """`$12.40`; three decimals below a dollar."""
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.3f}"


def _read_plan(results: StudyResults) -> dict[str, Mapping[str, Any]]:
    """Arm → its plan. A plan is an addition: one that cannot be read is as good as none."""
    path = results.directory / PLAN_FILE
    try:
        plan = _mapping(read_json(path))
    except DataError:
        return {}
    arms = plan.get("arms")
    rows = cast("Sequence[Any]", arms) if isinstance(arms, list) else ()
    return {str(_mapping(row).get("name")): _mapping(row) for row in rows}


def _compare(plan: Mapping[str, Any], cost: Cost) -> tuple[Comparison, ...]:
    time, memory = _mapping(plan.get("time")), _mapping(plan.get("memory"))
    machine = _mapping(plan.get("machine"))
    hours = _number(time.get("train_hours"))
    seconds = None if hours is None else 3600 * hours
    gib = _number(memory.get("allocated_gib"))
    price = _number(machine.get("usd_per_hour"))
    found = (
        _pair("training time", seconds, cost.seconds, format_seconds, _basis(time, "train_hours")),
        _pair(
            "peak memory",
            None if gib is None else gib * 2**30,
            cost.peak_memory_bytes,
            format_bytes,
            _basis(memory, "allocated_gib"),
        ),
        _pair(
            "cost of training",
            _dollars(seconds, price),
            _dollars(cost.seconds, price),
            format_usd,
            _basis(machine, "usd_per_hour"),
        ),
    )
    return tuple(comparison for comparison in found if comparison is not None)


def _pair(
    what: str,
    planned: float | None,
    measured: float | None,
    show: Callable[[float], str],
    basis: str,
) -> Comparison | None:
    if not planned or measured is None:
        return None
    return Comparison(what, show(planned), show(measured), measured / planned - 1, basis)


def _dollars(seconds: float | None, usd_per_hour: float | None) -> float | None:
    if seconds is None or usd_per_hour is None:
        return None
    return seconds / 3600 * usd_per_hour


def _name_other_machine(plan: Mapping[str, Any], arm: ArmResults) -> list[str]:
    """One sentence where the runs had another device, or another number of them."""
    machine = _mapping(plan.get("machine"))
    gpu, count = machine.get("gpu"), machine.get("gpus")
    hardware = _mapping(arm.runs[0].provenance.get("hardware"))
    device, ran_count = hardware.get("device_name"), hardware.get("device_count")
    if not isinstance(gpu, str) or not isinstance(device, str):
        return []
    if hardware.get("device") == "cpu":  # Named by its model, with the number of threads after it.
        same = device.startswith(gpu)
    else:
        same_count = None in (count, ran_count) or count == ran_count
        same = same_count and _canonical(device) == _canonical(gpu)
    if same:
        return []
    return [f"Planned for {count or 1} × {gpu}, run on {ran_count or 1} × {device}."]


def _canonical(name: str) -> str:
    """A device's name in the table of devices; as it is where the table does not know it."""
    try:
        return find_device(name).name
    except PlanError:
        return name


def _basis(section: Mapping[str, Any], name: str) -> str:
    return str(_mapping(section.get("basis")).get(name) or "")


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return {str(key): item for key, item in cast("dict[Any, Any]", value).items()}
