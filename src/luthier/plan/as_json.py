"""A plan as one JSON object: plain numbers, and beside them what each rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.plan.choice.choose import Choice
from luthier.plan.choice.options import Option
from luthier.plan.choice.two_stage import TwoStage
from luthier.plan.figure import Figure
from luthier.plan.outcome.evaluation import TaskPlan
from luthier.plan.outcome.serving import Serving
from luthier.plan.run_plan import RunPlan, describe_fit
from luthier.plan.study_plan import StudyPlan


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
        "evaluation": {},
        "warnings": list_warnings(plan),
    }


def study_as_json(plan: StudyPlan) -> dict[str, Any]:
    """A study's plan; `arms` is a list of what `run_as_json` gives, each with the evaluation."""
    evaluation = {task.task: _task(task) for task in plan.tasks}
    arms = [{**run_as_json(run), "evaluation": evaluation} for run in plan.runs]
    return {
        "study": plan.study,
        "question": plan.question,
        "seeds": plan.seeds,
        "warnings": list(plan.warnings),
        "evaluation": evaluation,
        "arms": arms,
        "total": _figures(hours=plan.hours, usd=plan.usd),
        "values": [
            {**value._asdict(), "scaling": value.scaling and value.scaling._asdict()}
            for value in plan.values
        ],
        "serving": None if plan.serving is None else _serving(plan.serving),
    }


def choice_as_json(choice: Choice) -> dict[str, Any]:
    """All rows of the choice, and the two stages."""
    two_stage = choice.two_stage
    return {
        "budget_usd": choice.limits.budget_usd,
        "deadline_hours": choice.limits.deadline_hours,
        "options": [_option(row) for row in choice.options],
        "two_stage": None if two_stage is None else _two_stage(two_stage),
    }


def _task(task: TaskPlan) -> dict[str, Any]:
    return _figures(
        examples=task.examples,
        expected_rate=task.rate,
        detectable_difference=task.detectable_difference,
        detectable_difference_one_pair=task.paired,
        detectable_difference_unpaired=task.unpaired_holm,
    )


def _serving(serving: Serving) -> dict[str, Any]:
    figures = _figures(
        usd_per_answer=serving.usd_per_answer,
        usd_per_thousand=serving.usd_per_thousand,
        api_usd_per_answer=serving.api_usd_per_answer,
    )
    months = [month._asdict() for month in serving.months]
    return {**figures, "break_even_answers": serving.break_even_answers, "months": months}


def _option(row: Option) -> dict[str, Any]:
    taken, machine = row.estimate, row.machine
    figures = _figures(
        allocated_gib=taken.allocated_gib,
        train_hours=taken.train_hours,
        usd=taken.usd,
        expected=None if row.quality is None else row.quality.value,
    )
    return {
        "method": row.title,
        "gpu": machine.device.name,
        "gpus": machine.count,
        "sharding": machine.sharding,
        "hours": taken.hours,
        "fits": taken.fits,
        "feasible": row.feasible,
        "obstacle": row.obstacle,
        "pareto": row.pareto,
        **figures,
    }


def _two_stage(plan: TwoStage) -> dict[str, Any]:
    pilots = [
        {
            "method": arm.title,
            "machine": arm.machine,
            "hours": arm.hours(plan.share),
            "usd": arm.usd(plan.share),
        }
        for arm in plan.arms
    ]
    return {
        "share": plan.share,
        "arms": pilots,
        "pilot_hours": plan.pilot_hours,
        "pilot_usd": plan.pilot_usd,
        "seeds": plan.seeds,
        "full_hours": plan.full_hours,
        "full_usd": plan.full_usd,
        "left_out": [item._asdict() for item in plan.left_out],
        **_figures(detectable_difference=plan.detectable),
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
        host_gib=memory.host_gib,
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
