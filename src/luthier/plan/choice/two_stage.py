"""A short pilot of many arms, then the best of them in full, within one budget.

All arms are trained on a share of the data with one seed; what the pilot leaves of the budget
pays full runs of the arm that led it. Whether the pilot can tell the arms apart depends on the
test examples alone, and is said: where it cannot, the cheaper arm goes on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from luthier.plan.choice.options import Option, name_machine
from luthier.plan.figure import Figure
from luthier.plan.outcome.evaluation import plan_evaluation

# Shares of a full run that a pilot may take, the largest first. Under a twentieth, a schedule's
# warm-up is most of the run.
PILOT_SHARES = (1 / 3, 1 / 4, 1 / 5, 1 / 8, 1 / 10, 1 / 20)
# With three, the spread between seeds is known at all, and a difference can be tested against it.
WANTED_SEEDS = 3
MOST_SEEDS = 5


class PilotArm(NamedTuple):
    """One arm as a full run on the machine that would train it.

    Attributes:
        title: what it is called.
        machine: where it runs, `2 × H200`.
        train_hours: that shrink with the share of the data.
        fixed_hours: of loading and evaluation, which do not.
        usd_per_hour: of that machine.
        expected: score that is known of it; None where none is.
    """

    title: str
    machine: str
    train_hours: float
    fixed_hours: float
    usd_per_hour: float
    expected: float | None = None

    def hours(self, share: float = 1.0) -> float:
        """Of one run on `share` of the data."""
        return share * self.train_hours + self.fixed_hours

    def usd(self, share: float = 1.0) -> float:
        """Of one run on `share` of the data."""
        return self.hours(share) * self.usd_per_hour


def choose_pilot_arms(options: Sequence[Option]) -> tuple[PilotArm, ...]:
    """One arm per method, each on the cheapest machine that has room for it.

    Budget and deadline are judged for the proposal as a whole, so rows that one run alone would
    break are not left out here.
    """
    cheapest: dict[str, tuple[float, PilotArm]] = {}
    for row in options:
        taken, price = row.estimate, row.machine.usd_per_hour
        if taken.fits == "no" or taken.usd is None or price is None:
            continue
        arm = PilotArm(
            row.title,
            name_machine(row.machine),
            taken.train_hours.value,
            taken.fixed_hours.value,
            price.value,
            None if row.quality is None else row.quality.goodness,
        )
        if row.title not in cheapest or taken.usd.value < cheapest[row.title][0]:
            cheapest[row.title] = taken.usd.value, arm
    return tuple(arm for _, arm in cheapest.values())


class LeftOut(NamedTuple):
    """An arm that the budget cannot carry, and why."""

    title: str
    reason: str


class TwoStage(NamedTuple):
    """The proposal.

    Attributes:
        arms: in the pilot, the cheapest first.
        left_out: arms that are not, with the reason.
        share: of a full run that the pilot takes.
        pilot_hours, pilot_usd: of all pilot runs, one after another.
        seeds: full runs per arm that what is left then pays: at least, whichever arm leads.
        full_hours, full_usd: of these, where the dearest arm leads.
        budget_usd: what was given.
        deadline_hours: what was given, if anything.
        machines: that must run side by side to meet the deadline; 1 without one.
        detectable: smallest difference of two arms that the pilot's test set shows.
        close: neighbours by known score that differ by less than that.
    """

    arms: tuple[PilotArm, ...]
    left_out: tuple[LeftOut, ...]
    share: float
    pilot_hours: float
    pilot_usd: float
    seeds: int
    full_hours: float
    full_usd: float
    budget_usd: float
    deadline_hours: float | None
    machines: int
    detectable: Figure | None
    close: tuple[tuple[str, str], ...]


def propose_two_stage(
    arms: Sequence[PilotArm],
    budget_usd: float,
    deadline_hours: float | None = None,
    test_examples: int | None = None,
    rate: Figure | None = None,
) -> TwoStage | None:
    """The longest pilot of as many arms as possible that leaves enough for the full runs.

    Three seeds of whichever arm leads come first, then the number of arms, then the length of
    the pilot. Where three seeds are too dear, one full run has to do.

    Args:
        arms: all that fit their machine and have a price.
        budget_usd: for everything together.
        deadline_hours: wall-clock; runs may stand side by side on machines of one kind.
        test_examples: that every arm is scored on.
        rate: share of them that an arm is expected to get right; a usual one is assumed when
            absent.

    Returns:
        None where not even two arms can be piloted with one full run left.
    """
    usable, too_slow = _split_by_deadline(arms, deadline_hours)
    ordered = sorted(usable, key=lambda arm: arm.usd())
    for seeds in (WANTED_SEEDS, 1):
        for count in range(len(ordered), 1, -1):
            for share in PILOT_SHARES:
                some = ordered[:count]
                in_time = deadline_hours is None or _shortest(some, share) <= deadline_hours
                if in_time and _cost(some, share, seeds) <= budget_usd:
                    dear = [
                        LeftOut(arm.title, "too dear for this budget") for arm in ordered[count:]
                    ]
                    return _propose(
                        tuple(some),
                        (*too_slow, *dear),
                        share,
                        budget_usd,
                        deadline_hours,
                        test_examples,
                        rate,
                    )
    return None


def compute_detectable(examples: int, comparisons: int, rate: Figure | None) -> Figure | None:
    """Smallest lead over the others that a pilot of one seed finds with 80% power at 5%.

    Paired on the examples and Holm-corrected over the comparisons, as a study's report does it.
    None where no lead would be found.
    """
    (plan,) = plan_evaluation({"pilot": examples}, comparisons + 1, 1, expected_rate=rate)
    return plan.detectable_difference


def _split_by_deadline(
    arms: Sequence[PilotArm], deadline_hours: float | None
) -> tuple[list[PilotArm], tuple[LeftOut, ...]]:
    """An arm must leave time for a pilot before its full run."""
    if deadline_hours is None:
        return list(arms), ()
    shortest = PILOT_SHARES[-1]
    usable = [arm for arm in arms if arm.hours() + arm.hours(shortest) <= deadline_hours]
    late = [LeftOut(arm.title, "too slow for the deadline") for arm in arms if arm not in usable]
    return usable, tuple(late)


def _cost(arms: Sequence[PilotArm], share: float, seeds: int) -> float:
    return sum(arm.usd(share) for arm in arms) + seeds * max(arm.usd() for arm in arms)


def _shortest(arms: Sequence[PilotArm], share: float) -> float:
    """Hours of both stages where every run has a machine of its own."""
    return max(arm.hours(share) for arm in arms) + max(arm.hours() for arm in arms)


def _propose(
    arms: tuple[PilotArm, ...],
    left_out: tuple[LeftOut, ...],
    share: float,
    budget_usd: float,
    deadline_hours: float | None,
    test_examples: int | None,
    rate: Figure | None,
) -> TwoStage:
    pilot_usd = sum(arm.usd(share) for arm in arms)
    dearest = max(arms, key=lambda arm: arm.usd())
    seeds = min(MOST_SEEDS, int((budget_usd - pilot_usd) / dearest.usd() + 1e-9))
    pilot_hours = sum(arm.hours(share) for arm in arms)
    full_hours = seeds * max(arm.hours() for arm in arms)
    detectable = compute_detectable(test_examples, len(arms) - 1, rate) if test_examples else None
    return TwoStage(
        arms,
        left_out,
        share,
        pilot_hours,
        pilot_usd,
        seeds,
        full_hours,
        seeds * dearest.usd(),
        budget_usd,
        deadline_hours,
        _count_machines(arms, share, seeds, deadline_hours),
        detectable,
        _find_close(arms, detectable),
    )


def _count_machines(
    arms: Sequence[PilotArm], share: float, seeds: int, deadline_hours: float | None
) -> int:
    """Fewest machines side by side with which pilot and full runs end in time.

    Runs are dealt out whole, so with `k` machines a stage takes at most its longest run times
    the number of rounds; one machine a run is always enough.
    """
    if deadline_hours is None:
        return 1
    longest_pilot = max(arm.hours(share) for arm in arms)
    longest_full = max(arm.hours() for arm in arms)
    most = max(len(arms), seeds)
    for machines in range(1, most + 1):
        pilot = min(
            math.ceil(len(arms) / machines) * longest_pilot, sum(arm.hours(share) for arm in arms)
        )
        if pilot + math.ceil(seeds / machines) * longest_full <= deadline_hours:
            return machines
    return most


def _find_close(arms: Sequence[PilotArm], detectable: Figure | None) -> tuple[tuple[str, str], ...]:
    """Neighbours whose known scores are nearer than what the pilot shows, the best first.

    Only of scores that are shares, as the detectable difference is.
    """
    if detectable is None:
        return ()
    known = [
        (arm.expected, arm.title)
        for arm in arms
        if arm.expected is not None and 0 < arm.expected < 1
    ]
    ranked = sorted(known, reverse=True)
    return tuple(
        (better, worse)
        for (high, better), (low, worse) in itertools.pairwise(ranked)
        if high - low < detectable.value
    )
