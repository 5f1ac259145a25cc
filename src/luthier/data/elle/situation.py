"""One drawn situation: what a prompt reports and what follows from it.

A situation depends on (seed, index) alone. Level, style and hidden values change only how it is
told, so the same row can be compared across them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from luthier.data.elle.framework import (
    CORRELATES,
    MAX_CONFIDENCE,
    PHASE_TABLE,
    Correlate,
    Phase,
    classify_phase,
    compute_causality,
    compute_entropy,
    compute_functional,
    compute_initial_confidence,
    compute_phi,
    decay_confidence,
)
from luthier.data.elle.world import COUNTRIES, RISK_CATEGORIES, RISK_RANGES

NATIONS_PER_SITUATION = 4
LINKS = 4
SIGNALS = 12
SIGNAL_KINDS = 4
SCALES = 3
FORECASTS_PER_SCALE = 10
MAX_MONTHS = 12


@dataclass(frozen=True)
class Observations:
    """The raw counts from which Φ, H and C follow.

    Attributes:
        couplings: strength of four links between nations, each in [0, 1]; their mean is Φ.
        signals: how many of twelve signals were of each of four kinds; their entropy is H.
        hits: of ten forecasts at each of three scales, how many came true; their share is C.
    """

    couplings: tuple[float, ...]
    signals: tuple[int, ...]
    hits: tuple[int, ...]


@dataclass(frozen=True)
class Situation:
    """Drawn inputs and the figures that follow; figures carry two decimals, as a briefing does."""

    nations: tuple[tuple[str, float], ...]
    risks: dict[str, float]
    observations: Observations
    temperature: float
    order: float
    cohesion: float
    months: int
    driver: str

    @property
    def phi(self) -> float:
        return round(compute_phi(self.observations.couplings), 2)

    @property
    def entropy(self) -> float:
        return round(compute_entropy(self.observations.signals), 2)

    @property
    def causality(self) -> float:
        return round(compute_causality(self.observations.hits, FORECASTS_PER_SCALE), 2)

    @property
    def functional(self) -> float:
        """F of the rounded Φ, H and C, so that a reader who is shown those can check it."""
        return round(compute_functional(self.phi, self.entropy, self.causality), 2)

    @property
    def phase(self) -> Phase:
        return classify_phase(self.temperature, self.order)

    @property
    def decay(self) -> float:
        """The share e^(−0.1·months) of the initial confidence that is left."""
        return round(decay_confidence(1.0, self.months), 2)

    @property
    def confidence_bound(self) -> float:
        """The highest confidence allowed at this age of the data: 0.95·e^(−0.1·months)."""
        return decay_confidence(MAX_CONFIDENCE, self.months)

    @property
    def confidence(self) -> float:
        """C(t), rounded down so that it never exceeds its bound."""
        value = decay_confidence(compute_initial_confidence(self.cohesion), self.months)
        return math.floor(value * 100 + 1e-9) / 100

    @property
    def correlate(self) -> Correlate:
        return CORRELATES[self.driver]


def draw_situation(seed: int, index: int) -> Situation:
    """Draw situation number `index` of `seed`; independent of all other rows."""
    # A string seed is hashed with SHA-512: neighbouring seeds and rows share no stream.
    random = Random(f"elle:{seed}:{index}")
    nations = tuple(
        (code, _draw_hundredths(random, *RISK_RANGES[COUNTRIES[code]]))
        for code in random.sample(sorted(COUNTRIES), NATIONS_PER_SITUATION)
    )
    lead_risk = nations[0][1]
    risks = {
        category: _draw_hundredths(random, max(0.05, lead_risk - 0.2), min(0.98, lead_risk + 0.2))
        for category in RISK_CATEGORIES
    }
    temperature, order = _draw_phase_point(random)
    return Situation(
        nations=nations,
        risks=risks,
        observations=_draw_observations(random),
        temperature=temperature,
        order=order,
        cohesion=_draw_hundredths(random, 0.4, 1.0),
        months=random.randint(0, MAX_MONTHS),
        driver=random.choice(sorted(CORRELATES)),
    )


def _draw_hundredths(random: Random, low: float, high: float) -> float:
    return random.randint(round(low * 100), round(high * 100)) / 100


def _draw_phase_point(random: Random) -> tuple[float, float]:
    """A point of the published range of a phase, each phase equally often."""
    phase = random.choice(sorted(PHASE_TABLE))
    box = PHASE_TABLE[phase]
    while True:
        temperature = _draw_hundredths(random, *box.temperature)
        order = _draw_hundredths(random, *box.order)
        if classify_phase(temperature, order) == phase:
            return temperature, order


def _draw_observations(random: Random) -> Observations:
    # Each value is spread around a centre of its own: the mean of independent uniform draws would
    # crowd around one half and leave nothing to read off.
    link = random.randint(10, 90)
    couplings = tuple(min(100, max(0, link + random.randint(-10, 10))) / 100 for _ in range(LINKS))
    signals = [0] * SIGNAL_KINDS
    concentration = random.random()
    for _ in range(SIGNALS):
        signals[0 if random.random() < concentration else random.randrange(SIGNAL_KINDS)] += 1
    random.shuffle(signals)
    hit = random.randint(1, FORECASTS_PER_SCALE - 1)
    hits = tuple(
        min(FORECASTS_PER_SCALE, max(0, hit + random.randint(-2, 2))) for _ in range(SCALES)
    )
    return Observations(couplings, tuple(signals), hits)
