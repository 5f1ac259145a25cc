"""The figures of the Elle framework: Φ, H, C, F, phases, confidence, historical correlates.

Everything here is a pure function of numbers; docs/elle.md states the same formulas in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

ENTROPY_WEIGHT = 0.3
CAUSALITY_WEIGHT = 0.25
CRITICAL_TEMPERATURE = 0.7632
MAX_CONFIDENCE = 0.95
DECAY_PER_MONTH = 0.1
COHESION_THRESHOLD = 0.7

Phase = Literal["CRYSTALLINE", "SUPERCOOLED", "NUCLEATING", "PLASMA", "ANNEALING"]


class PhaseBox(NamedTuple):
    """The published range of a phase; each range holds its lower end, not its upper (1 excepted).

    Both are pairs (low, high) within [0, 1].
    """

    temperature: tuple[float, float]
    order: tuple[float, float]
    description: str


PHASE_TABLE: dict[Phase, PhaseBox] = {
    "CRYSTALLINE": PhaseBox((0.0, 0.3), (0.7, 1.0), "stable equilibrium"),
    "SUPERCOOLED": PhaseBox((0.3, 0.5), (0.5, 0.7), "metastable, open to perturbation"),
    "NUCLEATING": PhaseBox((0.4, 0.7), (0.3, 0.6), "phase transition in progress"),
    "PLASMA": PhaseBox((0.8, 1.0), (0.0, 0.3), "high-energy chaotic state"),
    "ANNEALING": PhaseBox((0.5, 0.7), (0.4, 0.6), "settling after a transition"),
}


def classify_phase(temperature: float, order: float) -> Phase:
    """Name the phase of a point of [0, 1]²; total, the first rule that holds decides.

    The published table overlaps (ANNEALING lies wholly inside NUCLEATING) and covers 27% of
    the square. These rules agree with it wherever exactly one of its ranges holds, give
    its overlaps to the narrower phase and fill its gaps by temperature.

    Raises:
        ValueError: a coordinate outside [0, 1], or not a number.
    """
    if not (0.0 <= temperature <= 1.0 and 0.0 <= order <= 1.0):
        raise ValueError(f"temperature {temperature} and order {order} must lie in [0, 1]")
    if temperature >= CRITICAL_TEMPERATURE:
        return "PLASMA"
    if temperature < 0.3:
        return "CRYSTALLINE"
    if temperature < 0.5 and order >= 0.5:
        return "SUPERCOOLED"
    if temperature >= 0.5 and order >= 0.4:
        return "ANNEALING"
    return "NUCLEATING"


def compute_functional(phi: float, entropy: float, causality: float) -> float:
    """F[T] = Φ − 0.3·H + 0.25·C, rounded to 4 decimals."""
    return round(phi - ENTROPY_WEIGHT * entropy + CAUSALITY_WEIGHT * causality, 4)


def compute_phi(couplings: Sequence[float]) -> float:
    """Φ: the mean coupling of the observed links (each in [0, 1])."""
    return sum(couplings) / len(couplings)


def compute_entropy(counts: Sequence[int]) -> float:
    """H: Shannon entropy of the signal counts over their kinds, divided by its maximum log K.

    Args:
        counts: how many signals of each of the K ≥ 2 kinds were seen; not all zero.
    """
    total = sum(counts)
    shares = [count / total for count in counts if count]
    return abs(sum(share * math.log(share) for share in shares)) / math.log(len(counts))


def compute_causality(hits: Sequence[int], trials: int) -> float:
    """C: the share of forecasts that came true, averaged over the scales.

    Args:
        hits: forecasts that came true at each scale (local, regional, global).
        trials: forecasts made at each scale.
    """
    return sum(hits) / (trials * len(hits))


def compute_initial_confidence(cohesion: float) -> float:
    """C(0): the cohesion of the evidence cluster, at most 0.95.

    Below the cohesion threshold 0.7 the cluster is loose, and C(0) is scaled down by
    cohesion / 0.7, so that it falls quadratically there and has no jump at the threshold.
    """
    scale = min(1.0, cohesion / COHESION_THRESHOLD)
    return min(MAX_CONFIDENCE, cohesion * scale)


def decay_confidence(confidence: float, months: float) -> float:
    """C(t) = C(0)·e^(−0.1·t), t in months."""
    return confidence * math.exp(-DECAY_PER_MONTH * months)


@dataclass(frozen=True)
class Correlate:
    """A historical parallel."""

    event: str
    period: str
    pattern: str


# Keyed by the driver that a prompt names.
CORRELATES: dict[str, Correlate] = {
    "rivalry": Correlate(
        "Peloponnesian War", "431-404 BC", "hegemonic rivalry leading to preventive war"
    ),
    "overextension": Correlate(
        "Fall of Rome", "376-476 AD", "overextension, migration and fiscal crisis"
    ),
    "contagion": Correlate(
        "Black Death", "1346-1353", "disease along trade networks leading to restructuring"
    ),
    "credit": Correlate(
        "Tulip Mania", "1634-1637", "easy credit and a novel asset ending in a bubble's collapse"
    ),
    "unrest": Correlate("Arab Spring", "2010-2012", "social media, a youth bulge and autocracy"),
}
