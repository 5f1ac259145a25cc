"""A study's plan as text of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from luthier.plan.figure import Figure
from luthier.plan.outcome.evaluation import TaskPlan
from luthier.plan.outcome.serving import render_serving
from luthier.plan.outcome.value import ArmValue
from luthier.plan.render_run import WIDTH, name_machine, render_warnings, show_hours
from luthier.plan.run_plan import RunPlan, describe_fit
from luthier.plan.study_plan import StudyPlan


def render_study(plan: StudyPlan) -> str:
    """What the evaluation can tell, then each arm's memory, time and cost, and all together."""
    lines = [plan.study, *textwrap.wrap(plan.question, WIDTH), ""]
    lines += render_warnings(plan.warnings)
    lines += [*_evaluation(plan.tasks), ""] if plan.tasks else []
    lines += [*_table(plan.runs), "", *_total(plan), ""]
    lines += [*_values(plan.values), ""] if plan.values else []
    lines += render_warnings(_arm_warnings(plan.runs))
    if plan.serving is not None:
        lines += ["Serving", render_serving(plan.serving), ""]
    lines.append("~ rests on an assumption; `--json` says on which.")
    return "\n".join(lines)


def _evaluation(tasks: Iterable[TaskPlan]) -> Iterator[str]:
    for task in tasks:
        if not task.is_share:
            yield from textwrap.wrap(
                f"{task.task}: {task.examples.value:,.0f} examples: which difference they show is "
                "not known before a run, since nats per token have no usual spread.",
                WIDTH,
                subsequent_indent="  ",
            )
            continue
        found = task.detectable_difference
        gap = "no gain" if found is None else f"a gain of {100 * found.value:.1f} points"
        seeds = "one seed" if task.seeds == 1 else f"{task.seeds} seeds"
        text = (
            f"{task.task}: {task.examples.value:,.0f} examples, {seeds}: {gap} over the baseline "
            f"is found with 80% probability"
        )
        rests = found or Figure(0.0, task.rate.basis, f"rate {task.rate.value:g}")
        basis = f" ({rests.basis}: {rests.source})"
        yield from textwrap.wrap(f"{text}{basis}.", WIDTH, subsequent_indent="  ")


def _table(runs: Iterable[RunPlan]) -> Iterator[str]:
    runs = tuple(runs)
    wide = min(22, max(3, *(len(run.name) for run in runs)))
    where = min(22, max(7, *(len(name_machine(run)) for run in runs)))
    yield (
        f"{'arm':<{wide}}  {'machine':<{where}} {'GiB':>7} {'of':>5}  {'fits':<5} "
        f"{'hours':>8} {'$':>9}"
    )
    for run in runs:
        memory = run.memory
        name = run.name if len(run.name) <= wide else f"{run.name[: wide - 1]}…"
        machine = name_machine(run)
        machine = machine if len(machine) <= where else f"{machine[: where - 1]}…"
        yield (
            f"{name:<{wide}}  {machine:<{where}} {memory.allocated_gib.value:>7.1f} "
            f"{memory.capacity_gib.value:>5.0f}  {memory.fits:<5} {_hours(run):>8} {_usd(run):>9}"
        )


def _hours(run: RunPlan) -> str:
    if not run.counted:
        return "–"
    hours = run.time.total_hours
    return f"{'~' if hours.basis == 'assumed' else ''}{show_hours(hours.value).removesuffix(' h')}"


def _usd(run: RunPlan) -> str:
    usd = run.cost.usd if run.cost else None
    if usd is None:
        return "–"
    return f"{'~' if usd.basis == 'assumed' else ''}{usd.value:,.2f}"


def _total(plan: StudyPlan) -> Iterator[str]:
    if plan.hours is None:
        yield "How long it all takes is not known without the amount of data."
        return
    about = "about " if plan.hours.basis == "assumed" else ""
    cost = "" if plan.usd is None else f", ${plan.usd.value:,.2f}"
    yield f"All together ({plan.hours.source}): {about}{show_hours(plan.hours.value)}{cost}."


def _values(values: Iterable[ArmValue]) -> Iterator[str]:
    """What each arm's training gives for its money."""
    values = tuple(values)
    wide = min(22, max(3, *(len(value.name) for value in values)))
    heads = ("score", "training $", "$/point", "$/gained", "speed", "per device")
    yield f"{'arm':<{wide}}  " + " ".join(f"{head:>10}" for head in heads)
    for value in values:
        scaling = value.scaling
        cells = (
            _number(value.score, ".1f"),
            _number(value.training_usd, ".2f"),
            _number(value.usd_per_point, ".2f"),
            _number(value.usd_per_gained_point, ".2f"),
            "–" if scaling is None else f"{scaling.speed_up:.2f}×",
            "–" if scaling is None else f"{scaling.efficiency:.0%}",
        )
        name = value.name if len(value.name) <= wide else f"{value.name[: wide - 1]}…"
        yield f"{name:<{wide}}  " + " ".join(f"{cell:>10}" for cell in cells)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:,{form}}"


def _arm_warnings(runs: Iterable[RunPlan]) -> list[str]:
    """Each arm's, those that several arms share said once."""
    arms: dict[str, list[str]] = {}
    for run in runs:
        unfit = [] if run.memory.fits == "yes" else [describe_fit(run)]
        for text in [*unfit, *run.warnings]:
            arms.setdefault(text, []).append(run.name)
    return [f"{', '.join(names)}: {text}" for text, names in arms.items()]
