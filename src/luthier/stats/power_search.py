"""From power to the questions asked of it: which difference is found, and with how many examples.

Both rest on power growing with either. Exact tests climb in small teeth, so an answer may be an
example or two off.
"""

from __future__ import annotations

from collections.abc import Callable

BISECTION_STEPS = 24
MOST_EXAMPLES = 100_000_000


def find_detectable(
    power_of: Callable[[float], float], power: float, largest: float
) -> float | None:
    """Smallest difference found with `power`; None where even `largest` is not."""
    if largest <= 0 or power_of(largest) < power:
        return None
    low, high = 0.0, largest
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return high


def find_examples(power_of: Callable[[int], float], power: float) -> int | None:
    """Fewest examples with which `power` is reached; None where a hundred million do not."""
    high = 2
    while power_of(high) < power:
        high *= 2
        if high > MOST_EXAMPLES:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return high
