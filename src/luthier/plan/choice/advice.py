"""When a run does not fit: the smallest changes that make it fit, in the order of their cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from luthier.plan.choice.fit_steps import CHEAP, DEAR, Around, Setting, Step, Variant
from luthier.plan.figure import Figure

MOST_CHANGES = 8
# Each try is a whole memory estimate; a plan is to take well under a second.
MOST_TRIED = 200

Fits = Literal["yes", "tight", "no"]


class Reading(NamedTuple):
    """What one device holds at its peak.

    Attributes:
        allocated_gib: peak.
        fits: whether the device has room for it.
    """

    allocated_gib: Figure
    fits: Fits


class Change(NamedTuple):
    """One way to make a run fit; each is complete in itself.

    Attributes:
        settings: (key, value) pairs: recipe keys, and the flags gpu, gpus and sharding.
        what_it_costs: in time, money or quality, in words.
        memory_gib_after: peak of one device with it.
        fits: what that means for the device.
    """

    settings: tuple[tuple[str, str], ...]
    what_it_costs: str
    memory_gib_after: Figure
    fits: Fits

    @property
    def key(self) -> str:
        """The keys that are changed, with commas."""
        return ", ".join(key for key, _ in self.settings)

    @property
    def value(self) -> str:
        """Their new values, in the same order."""
        return ", ".join(value for _, value in self.settings)

    @property
    def text(self) -> str:
        """`micro_batch_size: 1, gradient_accumulation_steps: 16`."""
        return ", ".join(f"{key}: {value}" for key, value in self.settings)


Measure = Callable[[Setting], Reading]


def find_changes(setting: Setting, around: Around, measure: Measure) -> tuple[Change, ...]:
    """The smallest changes after which the run fits.

    Cheap changes alone, then the smallest sets of them, then each dear change with as few cheap
    ones as it takes; two dear ones together only where nothing else does. What is tried is
    measured anew each time, on a recipe that its rules allow.

    Args:
        measure: the peak memory of a setting.

    Returns:
        Nothing where the run fits already. Where no change makes it fit, the one that comes
        nearest, which says so in `fits`.
    """
    now = measure(setting)
    if now.fits == "yes":
        return ()
    wanted: tuple[Fits, ...] = ("yes",) if now.fits == "tight" else ("yes", "tight")
    search = _Search(setting, around, measure, wanted)
    found = [*search.cheap_sets(), *search.dear_ones()] or list(search.dear_pairs())
    if found:
        return tuple(found[:MOST_CHANGES])
    return (search.nearest,) if search.nearest is not None else ()


class _Search:
    """Tries changes, and remembers what came nearest."""

    def __init__(
        self, setting: Setting, around: Around, measure: Measure, wanted: Sequence[Fits]
    ) -> None:
        self.setting = setting
        self.around = around
        self.measure = measure
        self.wanted = wanted
        self.cheap = tuple(step for step in CHEAP if any(True for _ in step(setting, around)))
        self.dear = tuple(step for step in DEAR if any(True for _ in step(setting, around)))
        self.nearest: Change | None = None
        self.left = MOST_TRIED

    def cheap_sets(self) -> Iterator[Change]:
        """Every set of cheap steps that fits and holds no smaller one that does."""
        enough: list[frozenset[Step]] = []
        for size in range(1, len(self.cheap) + 1):
            for steps in itertools.combinations(self.cheap, size):
                if any(smaller <= set(steps) for smaller in enough):
                    continue
                change = self._mildest(steps)
                if change is not None:
                    enough.append(frozenset(steps))
                    yield change

    def dear_ones(self) -> Iterator[Change]:
        """Each dear step, with as few of the cheap ones as it takes, in their order."""
        for step in self.dear:
            prefixes = (self.cheap[:count] for count in range(len(self.cheap) + 1))
            tried = (self._mildest((step, *prefix)) for prefix in prefixes)
            change = next((change for change in tried if change is not None), None)
            if change is not None:
                yield change

    def dear_pairs(self) -> Iterator[Change]:
        """Two dear steps and all cheap ones."""
        for steps in itertools.combinations(self.dear, 2):
            change = self._mildest((*steps, *self.cheap))
            if change is not None:
                yield change

    def _mildest(self, steps: Sequence[Step]) -> Change | None:
        """The steps taken together, in the mildest forms that fit; None where none do.

        The forms of the last step are tried first, so a cheap step grows before a dear one does.
        """
        for variants in self._walk(self.setting, steps):
            if self.left == 0:
                return None
            self.left -= 1
            change = self._measure(variants)
            if change.fits in self.wanted:
                return change
        return None

    def _walk(self, setting: Setting, steps: Sequence[Step]) -> Iterator[tuple[Variant, ...]]:
        if not steps:
            yield ()
            return
        first, *rest = steps
        none_left = True
        for variant in first(setting, self.around):
            none_left = False
            for more in self._walk(variant.after, rest):
                yield (variant, *more)
        if none_left:  # An earlier step has done what this one would.
            yield from self._walk(setting, rest)

    def _measure(self, variants: Sequence[Variant]) -> Change:
        reading = self.measure(variants[-1].after)
        pairs: dict[str, str] = {}
        for variant in variants:
            pairs.update(variant.settings)
        costs = dict.fromkeys(variant.cost for variant in variants)
        change = Change(tuple(pairs.items()), "; ".join(costs), reading.allocated_gib, reading.fits)
        before = self.nearest
        if before is None or change.memory_gib_after.value < before.memory_gib_after.value:
            self.nearest = change
        return change
