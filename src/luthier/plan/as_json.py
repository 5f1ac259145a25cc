"""A plan as one JSON object: plain numbers, and beside them what each rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.plan.figure import Figure
from luthier.plan.run_plan import RunPlan, describe_fit


def run_as_json(plan: RunPlan) -> dict[str, Any]:
    """One arm's plan; a number that is not known is null."""
    time = plan.time
    hours = time if plan.counted else None
    return {
        "name": plan.name,
        "machine": _machine(plan),
        "model": {
            "name": plan.workload.facts.name,
            "parameters": plan.workload.facts.parameters,
            "trainable": plan.workload.trainable,
            "source": plan.workload.facts.source,
        },
        "memory": _memory(plan),
        "time": _figures(
            train_hours=hours and time.train_hours,
            evaluation_hours=hours and time.evaluation_hours,
            other_hours=hours and time.other_hours,
            tokens_per_second=time.tokens_per_second,
            tokens=hours and time.tokens,
        ),
        "cost": _figures(
            usd=plan.cost and plan.cost.usd,
            kwh=plan.cost and plan.cost.kwh,
        ),
        "warnings": list_warnings(plan),
    }


def list_warnings(plan: RunPlan) -> list[str]:
    """A run's warnings, the first that it does not fit."""
    unfit = [] if plan.memory.fits == "yes" else [describe_fit(plan)]
    return [*unfit, *plan.warnings]


def _machine(plan: RunPlan) -> dict[str, Any]:
    machine = plan.machine
    figures = _figures(usd_per_hour=machine.usd_per_hour)
    named = {"gpu": machine.device.name, "gpus": machine.count, "sharding": machine.sharding}
    return {**named, "engine": plan.workload.engine, **figures}


def _memory(plan: RunPlan) -> dict[str, Any]:
    memory = plan.memory
    figures = _figures(
        allocated_gib=memory.allocated_gib,
        device_gib=memory.device_gib,
        capacity_gib=memory.capacity_gib,
        measured_gib=plan.measured_gib,
    )
    parts = _figures(**memory.parts)
    basis = {**figures.pop("basis"), "parts": parts.pop("basis")}
    return {**figures, "fits": memory.fits, "parts": parts, "basis": basis}


def _figures(**figures: Figure | None) -> dict[str, Any]:
    """Name → number, and under `basis` name → what it rests on."""
    numbers = {name: None if item is None else item.value for name, item in figures.items()}
    known: Mapping[str, Figure] = {name: item for name, item in figures.items() if item is not None}
    return {**numbers, "basis": {name: say_basis(figure) for name, figure in known.items()}}


def say_basis(figure: Figure) -> str:
    """`measured: 12 steps on this machine`."""
    return f"{figure.basis}: {figure.source}" if figure.source else figure.basis
