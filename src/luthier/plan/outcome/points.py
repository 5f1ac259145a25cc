"""Arithmetic of a study's plan: hours from a throughput, dollars per point, scaling, buckets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

SECONDS_PER_HOUR = 3600.0


class Bucket(NamedTuple):
    """A class of training times, from `at_least` hours to below `below`."""

    name: str
    at_least_hours: float
    below_hours: float


# How long an experiment keeps a machine: windows of half a day.
TIME_BUCKETS: tuple[Bucket, ...] = (
    Bucket("under 12 h", 0, 12),
    Bucket("12-24 h", 12, 24),
    Bucket("24-36 h", 24, 36),
    Bucket("36-48 h", 36, 48),
    Bucket("48-72 h", 48, 72),
    Bucket("72-120 h", 72, 120),
    Bucket("over 120 h", 120, math.inf),
)

# What such a time is good for (source: the study plan for one DGX Spark).
TIME_CATEGORIES: tuple[Bucket, ...] = (
    Bucket("quick", 0, 12),
    Bucket("medium", 12, 36),
    Bucket("long", 36, 72),
    Bucket("extended", 72, 120),
    Bucket("not recommended", 120, math.inf),
)


def hours_from_throughput(
    samples: float, average_tokens: float, epochs: float, tokens_per_second: float
) -> float:
    """Training hours = samples × average tokens × epochs ÷ tokens per second ÷ 3600."""
    _above_zero(tokens_per_second, "tokens_per_second")
    return samples * average_tokens * epochs / tokens_per_second / SECONDS_PER_HOUR


def throughput_from_steps(
    steps_per_second: float, examples_per_step: int, tokens_per_example: float
) -> float:
    """Tokens per second of a loop whose examples all have, or are padded to, one length."""
    return steps_per_second * examples_per_step * tokens_per_example


def find_bucket(hours: float, buckets: Sequence[Bucket] = TIME_BUCKETS) -> Bucket:
    """The bucket that a time falls into; a time on a border belongs to the longer one.

    Raises:
        ValueError: a negative time, or one that is no number.
    """
    for bucket in buckets:
        if bucket.at_least_hours <= hours < bucket.below_hours:
            return bucket
    raise ValueError(f"{hours} hours lie in no bucket.")


def mean_score(scores: Sequence[float]) -> float:
    """The plain mean of several scores, each counting the same."""
    if not scores:
        raise ValueError("no scores to average.")
    return math.fsum(scores) / len(scores)


def usd_per_point(usd: float, score: float, base: float = 0.0) -> float | None:
    """Dollars for each point that training gained over the untouched model.

    Args:
        usd: what the training cost.
        score: what was reached, in points; a point is one hundredth of a full score.
        base: what the untouched model scores. With 0 the points that it has already count as
            bought, as in the tables that divide the cost by the whole score.

    Returns:
        Dollars per point; None where nothing was gained.
    """
    gained = score - base
    return usd / gained if gained > 0 else None


class Scaling(NamedTuple):
    """What more devices bring.

    Attributes:
        speed_up: times as fast as the reference.
        efficiency: speed-up per device, against the reference's; 1 where twice the devices take
            half the time.
        device_hours: hours × devices, which is what is paid for.
        usd: cost, where the price of a device is known.
    """

    speed_up: float
    efficiency: float
    device_hours: float
    usd: float | None


def scale(
    hours: float,
    devices: int,
    reference_hours: float,
    reference_devices: int = 1,
    usd_per_device_hour: float | None = None,
) -> Scaling:
    """Compare a run on `devices` with the same work on `reference_devices`.

    A row whose method differs from the reference's compares the methods too.
    """
    _above_zero(hours, "hours")
    _above_zero(reference_hours, "reference_hours")
    speed_up = reference_hours / hours
    usd = None if usd_per_device_hour is None else hours * devices * usd_per_device_hour
    efficiency = speed_up * reference_devices / devices
    return Scaling(speed_up, efficiency, hours * devices, usd)


def _above_zero(value: float, name: str) -> None:
    if not value > 0:
        raise ValueError(f"`{name}` is {value}; it must be above 0.")
