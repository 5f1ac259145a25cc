"""Dollars and energy of a planned run."""

from __future__ import annotations

import pytest

from luthier.plan.cost import estimate_cost
from luthier.plan.figure import Basis, Figure
from luthier.plan.machine.devices import build_machine, find_device
from luthier.plan.machine.hardware import Machine
from luthier.plan.time.estimate import Time


def hours(train: float, evaluation: float, other: float, basis: Basis = "computed") -> Time:
    return Time(
        Figure(train, basis),
        Figure(evaluation, basis),
        Figure(other, basis),
        Figure(1000, basis),
        Figure(1e6, basis),
        Figure(1, basis),
    )


def machine(name: str, count: int = 1, usd: float | None = None) -> Machine:
    return build_machine(find_device(name), count, "none", usd)


def test_dollars_are_all_hours_times_the_price_of_all_devices() -> None:
    cost = estimate_cost(hours(9, 0.75, 0.25), machine("H200", 2, 4.0))
    assert cost.usd is not None
    assert cost.usd.value == pytest.approx(10 * 2 * 4)
    assert cost.usd.basis == "computed"


def test_a_typical_price_makes_the_cost_assumed() -> None:
    cost = estimate_cost(hours(1, 0, 0), machine("A100-80GB"))
    assert cost.usd is not None
    assert (cost.usd.value, cost.usd.basis) == (pytest.approx(2.79), "assumed")


def test_energy_is_hours_times_board_power() -> None:
    cost = estimate_cost(hours(9, 0.75, 0.25), machine("H200", 2, 4.0))
    assert cost.kwh is not None
    assert cost.kwh.value == pytest.approx(10 * 2 * 0.7)


def test_without_a_price_nothing_is_guessed_and_the_flag_is_named() -> None:
    cost = estimate_cost(hours(1, 1, 1), machine("GB10"))
    assert cost.usd is None
    assert any("--usd-per-hour" in warning for warning in cost.warnings)
    cpu = estimate_cost(hours(1, 1, 1), machine("cpu"))
    assert cpu.kwh is None
