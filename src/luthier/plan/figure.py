"""One predicted number, and what it rests on."""

from __future__ import annotations

from typing import Literal, NamedTuple

# given: the user's or the study's own statement. measured: by a calibration or a published run.
# computed: follows from the recipe, the model and the hardware. assumed: a typical value.
Basis = Literal["given", "measured", "computed", "assumed"]

_FROM_FIRMEST: tuple[Basis, ...] = ("given", "measured", "computed", "assumed")


class Figure(NamedTuple):
    """A number with its basis.

    Attributes:
        value: the number; the attribute that holds the figure names the unit.
        basis: what it rests on.
        source: how it came about, in a few words ("12 steps on this machine, 2026-11-20").
    """

    value: float
    basis: Basis
    source: str = ""


def weakest(*figures: Figure) -> Basis:
    """The basis of a number that is worked out from `figures`: no firmer than the weakest.

    A product of given and measured numbers is computed; one assumption makes it assumed.
    """
    if len(figures) == 1:
        return figures[0].basis
    worst = max((figure.basis for figure in figures), key=_FROM_FIRMEST.index)
    return "assumed" if worst == "assumed" else "computed"
