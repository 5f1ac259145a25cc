"""What a check is, and how differences are put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Check(NamedTuple):
    """One row of the table.

    Attributes:
        technique: what is checked.
        reference: what it is compared with, written by others or by hand.
        quantity: what is compared.
        limit: the largest difference that passes.
        measure: the largest difference found, relative unless `quantity` says otherwise.
    """

    technique: str
    reference: str
    quantity: str
    limit: float
    measure: Callable[[], float]

    def passes(self, difference: float) -> bool:
        """False for NaN too."""
        return difference <= self.limit


def largest(differences: Iterable[float]) -> float:
    """The largest, or NaN where one is; Python's `max` would lose it.

    Raises:
        ValueError: nothing was compared.
    """
    return float(torch.tensor(list(differences), dtype=torch.float64).max())


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference, as a share of the largest expected value."""
    found, expected = found.detach(), expected.detach()
    assert found.shape == expected.shape
    scale = expected.abs().max().clamp(min=1e-300)
    return float((found - expected).abs().max() / scale)


def compare_named(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest relative error over tensors of the same names.

    A tensor that the reference has as zero (a key's bias: softmax ignores it) is compared with the
    largest of all instead of with itself.
    """
    assert found.keys() == expected.keys()
    scale = max(float(tensor.detach().abs().max()) for tensor in expected.values())
    differences: list[float] = []
    for name, tensor in expected.items():
        own = float(tensor.detach().abs().max())
        difference = float((found[name].detach() - tensor.detach()).abs().max())
        differences.append(difference / (own if own > 1e-9 * scale else scale))
    return largest(differences)
