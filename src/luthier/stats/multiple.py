"""Holm's correction: several arms against one baseline are several chances to be fooled."""

from __future__ import annotations

from collections.abc import Sequence


def adjust_holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the Holm-adjusted p-values, in the order given.

    Rejecting where the adjusted value is below alpha keeps the chance of any false claim among
    the whole family at or below alpha, whatever the dependence between the tests; it is never
    weaker than Bonferroni. The i-th smallest of m p-values is multiplied by m − i (i from 0),
    made monotone and cut at 1.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6, 65–70.
    """
    family_size = len(p_values)
    ascending = sorted(range(family_size), key=lambda index: p_values[index])
    adjusted = [0.0] * family_size
    running_maximum = 0.0
    for rank, index in enumerate(ascending):
        running_maximum = max(running_maximum, (family_size - rank) * p_values[index])
        adjusted[index] = min(1.0, running_maximum)
    return tuple(adjusted)
