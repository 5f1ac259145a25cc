"""What each arm of a study gives for its money and its machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from luthier.plan.outcome.points import Scaling, mean_score, scale, usd_per_point
from luthier.plan.run_plan import RunPlan


class ArmValue(NamedTuple):
    """One arm's training, beside what is expected of it and beside the first arm.

    Attributes:
        name: the arm's.
        score: plain mean of its expected scores, in points; None where none are stated.
        training_usd: of its training alone, without evaluation, loading and saving.
        usd_per_point: of the whole score.
        usd_per_gained_point: of what it gains over the untouched model, where that is stated too.
        scaling: against the first arm, where the arms' machines differ in size.
    """

    name: str
    score: float | None
    training_usd: float | None
    usd_per_point: float | None
    usd_per_gained_point: float | None
    scaling: Scaling | None


def value_arms(
    runs: Sequence[RunPlan], expected: Mapping[str, Mapping[str, float]], base: str
) -> tuple[ArmValue, ...]:
    """One row for each run; empty where no score is expected and all machines are of one size.

    Args:
        expected: arm → metric → score between 0 and 1.
        base: name of the untouched model among them.
    """
    sizes = {run.machine.count for run in runs}
    if not expected and len(sizes) == 1:
        return ()
    floor = _points(expected.get(base))
    return tuple(
        _value(run, runs[0] if len(sizes) > 1 else None, _points(expected.get(run.name)), floor)
        for run in runs
    )


def _points(scores: Mapping[str, float] | None) -> float | None:
    return 100 * mean_score(tuple(scores.values())) if scores else None


def _value(
    run: RunPlan, reference: RunPlan | None, score: float | None, floor: float | None
) -> ArmValue:
    hours, price = run.time.train_hours.value, run.machine.usd_per_hour
    usd = price.value * hours if run.counted and price is not None else None
    gained = whole = None
    if usd is not None and score is not None:
        whole = usd_per_point(usd, score)
        gained = None if floor is None else usd_per_point(usd, score, floor)
    scaling = None
    if reference is not None and run.counted and reference.counted:
        first = reference.time.train_hours.value
        scaling = scale(hours, run.machine.count, first, reference.machine.count)
    return ArmValue(run.name, score, usd, whole, gained, scaling)
