"""What a run costs: dollars by the hour, and energy."""

from __future__ import annotations

from typing import NamedTuple

from luthier.plan.figure import Figure, weakest
from luthier.plan.machine.hardware import Machine
from luthier.plan.time.estimate import Time


class Cost(NamedTuple):
    """What a run costs.

    Attributes:
        usd: dollars; None where no price is known.
        kwh: energy of the devices at their board power, an upper bound; None where that is unknown.
        warnings: what is missing and the flag that supplies it.
    """

    usd: Figure | None
    kwh: Figure | None
    warnings: tuple[str, ...] = ()


def estimate_cost(time: Time, machine: Machine) -> Cost:
    """Dollars and kilowatt-hours of all hours of `time` on `machine`."""
    hours = time.total_hours
    warnings: tuple[str, ...] = ()
    usd = None
    if machine.usd_per_hour is None:
        warnings = (
            f"{machine.device.name} has no price: the cost is not known. Give --usd-per-hour.",
        )
    else:
        price = machine.usd_per_hour
        usd = Figure(hours.value * price.value, weakest(hours, price), "hours × price")
    kwh = None
    if machine.device.watts is not None:
        watts = machine.device.watts
        kwh = Figure(
            hours.value * machine.count * watts.value / 1000,
            weakest(hours, watts),
            "hours × board power",
        )
    return Cost(usd, kwh, warnings)
