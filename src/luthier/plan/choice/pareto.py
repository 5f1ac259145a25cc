"""Which rows of a choice are worth a look: those that no other row beats on every count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Outcome(NamedTuple):
    """What one row gives and takes; memory is no part of it, it is a condition.

    Attributes:
        method: rows of one method have the same quality, known or not.
        hours: of the whole run; less is better.
        usd: what it costs; None where no price is known.
        quality: more is better; None where none is known.
        scale: what `quality` can be compared with: the same metric, data and study.
        spread: what two runs of the same thing differ by on that scale: a lead within it is none.
    """

    method: str
    hours: float
    usd: float | None
    quality: float | None = None
    scale: str = ""
    spread: float = 0.0


def find_pareto(rows: Sequence[Outcome]) -> tuple[bool, ...]:
    """Mark the rows that no marked row beats.

    A row beats another that is no cheaper, no faster and no better, and worse on one of the
    three. Two methods whose qualities cannot be compared do not beat one another, however much
    they differ in price: a cheaper method of unknown quality is not a better one. Prices count
    only where both rows have one.

    With a spread, "no better" is not transitive: A may stand for B and B for C, though C's lead
    over A is real. So only marked rows beat others, and C stays.
    """
    marked = [False] * len(rows)
    for index in sorted(range(len(rows)), key=lambda index: _order(rows[index])):
        beaten = any(
            marked[other] and _beats(rows[other], rows[index]) for other in range(len(rows))
        )
        marked[index] = not beaten
    return tuple(marked)


def _order(row: Outcome) -> tuple[float, float, float]:
    """Whoever beats a row comes before it."""
    usd = row.usd if row.usd is not None else 0.0
    return row.hours, usd, -(row.quality if row.quality is not None else 0.0)


def _beats(one: Outcome, other: Outcome) -> bool:
    if (one.usd is None) != (other.usd is None):
        return False
    usd, other_usd = one.usd or 0.0, other.usd or 0.0
    lead = _lead(one, other)
    if lead is None or one.hours > other.hours or usd > other_usd:
        return False
    spread = max(one.spread, other.spread)
    cheaper = one.hours < other.hours or usd < other_usd
    return lead >= -spread if cheaper else lead > spread


def _lead(one: Outcome, other: Outcome) -> float | None:
    """How much better the first is; None where that cannot be said."""
    if one.method == other.method:
        return 0.0
    if one.quality is None or other.quality is None or one.scale != other.scale:
        return None
    return one.quality - other.quality
