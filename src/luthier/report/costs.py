"""What each arm cost: the values of done.json, averaged over the seeds that ended."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from luthier.report.results import ArmResults

TRAINING_VALUES = (
    "seconds",
    "tokens",
    "tokens_per_second",
    "peak_memory_bytes",
    "trainable_parameters",
    "final_loss",
    "val_loss",
)
"""The keys of done.json that are results, in the order of every table."""


@dataclass(frozen=True)
class Cost:
    """Means over the seeds of one arm that ended; None where no run says so."""

    arm: str
    runs: int
    seconds: float | None
    tokens: float | None
    tokens_per_second: float | None
    peak_memory_bytes: float | None
    trainable_parameters: float | None
    total_parameters: float | None
    final_loss: float | None
    val_loss: float | None


def summarise_cost(arm: ArmResults) -> Cost:
    """The mean cost of one run of `arm`."""
    ended = [run.training for run in arm.runs if run.training]
    means: dict[str, float | None] = {}
    for name in (*TRAINING_VALUES, "total_parameters"):
        values = [run[name] for run in ended if isinstance(run.get(name), int | float)]
        means[name] = statistics.fmean(values) if values else None
    return Cost(arm=arm.name, runs=len(ended), **means)


def format_seconds(seconds: float | None) -> str:
    """`48 s`, `12 min 05 s`, `3 h 20 min`."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_count(count: float | None) -> str:
    """`812`, `45.2k`, `7.61M`, `1.24G`: three figures, which is all that costs are read for."""
    if count is None:
        return "–"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def format_bytes(size: float | None) -> str:
    """`640 MiB`, `1.38 GiB`."""
    if size is None:
        return "–"
    mebibytes = size / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1000 else f"{mebibytes / 1024:.2f} GiB"


def format_loss(loss: float | None) -> str:
    """A loss with three decimals."""
    return "–" if loss is None else f"{loss:.3f}"


def format_share(share: float) -> str:
    """`100%`, `3.2%`, `0.04%`: two figures below ten percent."""
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"
