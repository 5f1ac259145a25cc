"""Learning-rate schedules: a factor for each step, with no state to save.

All begin with a linear warm-up from 0. After it, with t the share of the remaining steps done:

    linear    1 − t
    cosine    floor + (1 − floor) · (1 + cos πt) / 2
    constant  1

Restarts make any of them jagged: its factor falls linearly to 0 before each restart, and rises
from 0 after it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple


class Jags(NamedTuple):
    restarts: tuple[int, ...] = ()  # after as many optimizer steps, ascending
    warmup_steps: int = 0  # after each restart
    anneal_steps: int = 0  # before each restart

    def factor(self, step: int) -> float:
        """What the schedule's own factor of step `step` (0-based) is multiplied by.

        The first step after a restart has 0, as a warm-up's first; the last before it
        1/anneal_steps.
        """
        factor = 1.0
        place = bisect_right(self.restarts, step)
        if place > 0 and self.warmup_steps > 0:
            factor *= min(1.0, (step - self.restarts[place - 1]) / self.warmup_steps)
        if place < len(self.restarts) and self.anneal_steps > 0:
            factor *= min(1.0, (self.restarts[place] - step) / self.anneal_steps)
        return factor


class Schedule(NamedTuple):
    shape: str
    total_steps: int
    warmup_steps: int = 0
    floor: float = 0.0  # of the cosine, as a share of the peak
    jags: Jags = Jags()

    def factor(self, step: int) -> float:
        """What the learning rate of optimizer step `step` (0-based) is multiplied by."""
        return self._smooth_factor(step) * self.jags.factor(step)

    def _smooth_factor(self, step: int) -> float:
        if step < self.warmup_steps:
            return step / self.warmup_steps
        after_warmup = max(1, self.total_steps - self.warmup_steps)
        return SHAPES[self.shape](min(1.0, (step - self.warmup_steps) / after_warmup), self.floor)


def compute_linear(progress: float, _floor: float) -> float:
    return 1.0 - progress


def compute_cosine(progress: float, floor: float) -> float:
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def compute_constant(_progress: float, _floor: float) -> float:
    return 1.0


SHAPES: dict[str, Callable[[float, float], float]] = {
    "linear": compute_linear,
    "cosine": compute_cosine,
    "constant": compute_constant,
}
