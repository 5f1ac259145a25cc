"""Learning-rate schedules against transformers' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import get_scheduler

from luthier.optim.schedules import Jags, Schedule

TOTAL = 37


def reference(name: str, warmup: int, **more: Any) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=TOTAL, **more
    )
    factors: list[float] = []
    for _ in range(TOTAL):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize("warmup", [0, 1, 5])
@pytest.mark.parametrize(
    ("shape", "name"),
    [("linear", "linear"), ("cosine", "cosine"), ("constant", "constant_with_warmup")],
)
def test_every_step_equals_transformers(shape: str, name: str, warmup: int) -> None:
    schedule = Schedule(shape, TOTAL, warmup)
    found = [schedule.factor(step) for step in range(TOTAL)]
    assert found == pytest.approx(reference(name, warmup), abs=1e-12)


def test_the_cosine_floor_equals_transformers() -> None:
    schedule = Schedule("cosine", TOTAL, 5, floor=0.1)
    found = [schedule.factor(step) for step in range(TOTAL)]
    expected = reference("cosine_with_min_lr", 5, scheduler_specific_kwargs={"min_lr_rate": 0.1})
    assert found == pytest.approx(expected, abs=1e-12)


def test_halfway_through_the_cosine_half_the_rate_is_left() -> None:
    assert Schedule("cosine", 100).factor(50) == pytest.approx(0.5)
    assert Schedule("cosine", 100, floor=0.2).factor(50) == pytest.approx(0.6)


def test_a_run_of_warm_up_alone_does_not_divide_by_zero() -> None:
    assert [Schedule("linear", 2, 2).factor(step) for step in range(2)] == [0.0, 0.5]


def test_a_restart_has_its_ramps_and_nothing_else_changes() -> None:
    # Restarts after steps 4 and 8; two steps down before each, two up after it.
    schedule = Schedule("constant", 12, jags=Jags((4, 8), warmup_steps=2, anneal_steps=2))
    found = [schedule.factor(step) for step in range(12)]
    assert found == [1, 1, 1, 0.5, 0, 0.5, 1, 0.5, 0, 0.5, 1, 1]


def test_the_ramps_are_factors_on_the_schedule_s_own() -> None:
    smooth, jagged = Schedule("linear", 10, 2), Schedule("linear", 10, 2, jags=Jags((5,), 4))
    ramp = [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.25, 0.5, 0.75, 1.0]
    expected = [factor * smooth.factor(step) for step, factor in enumerate(ramp)]
    assert [jagged.factor(step) for step in range(10)] == pytest.approx(expected)


def test_restarts_without_ramps_leave_the_schedule_as_it_is() -> None:
    for step in range(TOTAL):
        jagged = Schedule("cosine", TOTAL, 5, jags=Jags((10, 20)))
        assert jagged.factor(step) == Schedule("cosine", TOTAL, 5).factor(step)
