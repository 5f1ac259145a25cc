"""When something happens: every so many steps, and perhaps at the end."""

from __future__ import annotations

from typing import NamedTuple


class Cadence(NamedTuple):
    every_steps: int | None  # None: never on the way
    at_end: bool = True

    def due(self, step: int, total_steps: int) -> bool:
        """Whether it is due after `step` (1-based) of `total_steps`."""
        if self.at_end and step == total_steps:
            return True
        return self.every_steps is not None and step % self.every_steps == 0


def choose_cadence(
    every_steps: int | None, times_per_epoch: int | None, steps_per_epoch: int
) -> Cadence:
    """From a recipe's `…_steps` or `…s_per_epoch`; once an epoch when neither is set."""
    if every_steps is not None:
        return Cadence(every_steps)
    return Cadence(max(1, steps_per_epoch // (times_per_epoch or 1)))
