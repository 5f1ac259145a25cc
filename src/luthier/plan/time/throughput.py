"""Training throughput that somebody has measured and published, with where it stands."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal, NamedTuple

from luthier.errors import PlanError
from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Machine
from luthier.plan.work.workload import Workload
from luthier.recipe.resolve import projection_family, quantised_bits
from luthier.recipe.schema import Recipe

ThroughputMethod = Literal["lora", "qlora", "full"]

DOCUMENT_004 = "document 004, throughput by sequence length on a DGX Spark"


class PublishedThroughput(NamedTuple):
    """One published series.

    Attributes:
        device: name of the device in the planner's table.
        model: the base model, without its owner or a `-Instruct` ending.
        method: what is trained.
        tokens_per_second: sequence length → tokens per second of the one device.
        source: where it stands.
    """

    device: str
    model: str
    method: ThroughputMethod
    tokens_per_second: Mapping[int, float]
    source: str


PUBLISHED_THROUGHPUT: tuple[PublishedThroughput, ...] = (
    PublishedThroughput(
        "GB10",
        "Qwen2.5-7B",
        "lora",
        {512: 3000, 1024: 2600, 2048: 2200, 4096: 1650},
        DOCUMENT_004,
    ),
    PublishedThroughput(
        "GB10",
        "Qwen2.5-7B",
        "full",
        {512: 2000, 1024: 1750, 2048: 1400, 4096: 1000},
        DOCUMENT_004,
    ),
    PublishedThroughput("GB10", "Qwen2.5-7B", "qlora", {512: 2900}, DOCUMENT_004),
)


def look_up_throughput(
    device: str, model: str, method: ThroughputMethod, sequence_tokens: int
) -> Figure:
    """The published tokens per second at exactly that sequence length.

    Raises:
        PlanError: no such series, or none at that length; names what there is.
    """
    series = _find_series(device, model, method)
    if series is None:
        names = [f"{item.device} {item.model} {item.method}" for item in PUBLISHED_THROUGHPUT]
        near = difflib.get_close_matches(f"{device} {model} {method}", names, n=1)
        hint = f" The nearest is {near[0]}." if near else ""
        raise PlanError(
            f"no published throughput of {model}, {method}, on {device}.{hint} "
            "Give --tokens-per-second."
        )
    if sequence_tokens not in series.tokens_per_second:
        known = ", ".join(str(length) for length in series.tokens_per_second)
        raise PlanError(
            f"the throughput of {model}, {method}, on {device} is published for {known} tokens, "
            f"not for {sequence_tokens}. Give --tokens-per-second."
        )
    return Figure(series.tokens_per_second[sequence_tokens], "measured", series.source)


def published_throughput(workload: Workload, machine: Machine) -> Figure | None:
    """What is published for this workload's model, method and device; None where nothing is.

    Between two published lengths the figure is interpolated in the logarithm of the length, and is
    then computed from measurements; outside them nothing is said.
    """
    method = _method_of(workload.recipe)
    if machine.count != 1 or method is None or workload.engine != "luthier":
        return None
    series = _find_series(machine.device.name, workload.facts.name, method)
    if series is None:
        return None
    length = workload.example_tokens.value or workload.mean_tokens.value
    return _interpolate(series, length)


def _interpolate(series: PublishedThroughput, length: float) -> Figure | None:
    points = sorted(series.tokens_per_second.items())
    for known, rate in points:
        if abs(length - known) < 0.5:
            return Figure(rate, "measured", series.source)
    for (low, slower), (high, faster) in pairwise(points):
        if low < length < high:
            place = math.log(length / low) / math.log(high / low)
            rate = slower + place * (faster - slower)
            return Figure(rate, "computed", f"between two lengths of {series.source}")
    return None


def _find_series(device: str, model: str, method: ThroughputMethod) -> PublishedThroughput | None:
    plain = _plain_name(model)
    for series in PUBLISHED_THROUGHPUT:
        if (series.device, series.model.lower(), series.method) == (device, plain, method):
            return series
    return None


def _plain_name(model: str) -> str:
    return model.rpartition("/")[2].lower().removesuffix("-instruct")


def _method_of(recipe: Recipe) -> ThroughputMethod | None:
    """The published series' name for the recipe's method; None for what they do not cover."""
    if recipe.rl is not None or recipe.peft_use_dora or recipe.relora:
        return None
    if recipe.adapter is None:
        return "full" if projection_family(recipe.optimizer) is None else None
    bits = quantised_bits(recipe)
    return {None: "lora", 4: "qlora"}.get(bits)  # pyright: ignore[reportReturnType]
