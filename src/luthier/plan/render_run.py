"""One arm's plan as text of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from luthier.plan.figure import Figure
from luthier.plan.run_plan import RunPlan, describe_fit

WIDTH = 80
_NAME, _VALUE = 14, 10


def render_run(plan: RunPlan) -> str:
    """The verdict, memory, time and cost of one run, each figure with what it rests on."""
    lines = [*_head(plan), "", *render_warnings(plan.warnings)]
    lines += [f"Memory of one device, GiB ({plan.memory.moment})", *_memory(plan), ""]
    lines += ["Time and cost", *_time(plan)]
    return "\n".join(lines)


def render_warnings(warnings: Iterable[str]) -> list[str]:
    """Each as a paragraph of its own, and an empty line after them; nothing without any."""
    lines: list[str] = []
    for warning in warnings:
        lines += textwrap.wrap(f"! {warning}", WIDTH, subsequent_indent="  ")
    return [*lines, ""] if lines else []


def name_machine(plan: RunPlan) -> str:
    """`2 × H200, zero3-offload`."""
    machine = plan.machine
    count = f"{machine.count} × " if machine.count > 1 else ""
    shared = f", {machine.sharding}" if machine.sharding != "none" else ""
    return f"{count}{machine.device.name}{shared}"


def show_hours(hours: float) -> str:
    """`12.5 h`, `25 min`, `40 s`."""
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"


def show_count(number: float) -> str:
    """`30.0M`, `7.62B`, `512`."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def _head(plan: RunPlan) -> Iterator[str]:
    facts = plan.workload.facts
    share = 100 * plan.workload.trainable / facts.parameters
    engine = plan.workload.engine
    loop = "" if engine == "luthier" else f", the loop of {engine}"
    yield f"{plan.name}: {facts.name} on {name_machine(plan)}{loop}"
    yield f"{facts.parameters:,} weights, {plan.workload.trainable:,} trained ({share:.3g}%)"
    yield ""
    yield from textwrap.wrap(describe_fit(plan), WIDTH)


def _memory(plan: RunPlan) -> Iterator[str]:
    memory = plan.memory
    for name, figure in memory.parts.items():
        if figure.value >= 0.005:
            yield _row(name, f"{figure.value:.2f}", _plain(figure, memory.moment))
    allocated = _plain(memory.allocated_gib, memory.moment)
    yield _row("allocated", f"{allocated.value:.2f}", allocated)
    if plan.machine.device.kind != "cpu":
        yield _row("nvidia-smi", f"{memory.device_gib.value:.2f}", memory.device_gib)
    if plan.measured_gib is not None:
        yield _row("calibrated", f"{plan.measured_gib.value:.2f}", plan.measured_gib)


def _time(plan: RunPlan) -> Iterator[str]:
    time, cost = plan.time, plan.cost
    yield _row("tokens/s", f"{time.tokens_per_second.value:,.0f}", time.tokens_per_second)
    if not plan.counted:
        yield "  How long it takes is not known without the amount of data."
        return
    yield _row("tokens", show_count(time.tokens.value), time.tokens)
    for name, hours in (
        ("training", time.train_hours),
        ("evaluation", time.evaluation_hours),
        ("other", time.other_hours),
    ):
        yield _row(name, show_hours(hours.value), hours)
    if cost is not None and cost.usd is not None:
        yield _row("cost", f"${cost.usd.value:,.2f}", cost.usd)
    if cost is not None and cost.kwh is not None:
        yield _row("energy", f"{cost.kwh.value:,.3g} kWh", cost.kwh)


def _plain(figure: Figure, moment: str) -> Figure:
    """Without the moment, which the heading says for all of them."""
    return figure._replace(source="") if figure.source.endswith(moment) else figure


def _row(name: str, value: str, figure: Figure) -> str:
    basis = f"{figure.basis}: {figure.source}" if figure.source else figure.basis
    line = f"  {name:<{_NAME}}{value:>{_VALUE}}  {basis}"
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1].rstrip()}…"
