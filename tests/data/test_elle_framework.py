"""The figures of the Elle framework, by hand and over a dense grid."""

import math

import pytest

from luthier.data.elle.framework import (
    CRITICAL_TEMPERATURE,
    PHASE_TABLE,
    classify_phase,
    compute_causality,
    compute_entropy,
    compute_functional,
    compute_initial_confidence,
    compute_phi,
    decay_confidence,
)
from luthier.data.elle.world import COUNTRIES, RISK_RANGES, risk_band, risk_word

GRID = [step / 200 for step in range(201)]


def holds(box: tuple[float, float], value: float) -> bool:
    low, high = box
    return low <= value < high or value == high == 1.0


def phases_of_the_table(temperature: float, order: float) -> set[str]:
    return {
        phase
        for phase, box in PHASE_TABLE.items()
        if holds(box.temperature, temperature) and holds(box.order, order)
    }


def test_every_point_of_the_square_has_a_phase() -> None:
    found = {classify_phase(temperature, order) for temperature in GRID for order in GRID}
    assert found == set(PHASE_TABLE)


def test_the_classifier_agrees_with_the_table_wherever_one_range_alone_holds() -> None:
    checked = 0
    for temperature in GRID:
        for order in GRID:
            phases = phases_of_the_table(temperature, order)
            if len(phases) == 1:
                assert {classify_phase(temperature, order)} == phases, (temperature, order)
                checked += 1
    assert checked > 5000


def test_an_overlap_goes_to_one_of_the_phases_that_claim_it_and_never_to_nucleating() -> None:
    overlaps = 0
    for temperature in GRID:
        for order in GRID:
            phases = phases_of_the_table(temperature, order)
            if len(phases) > 1:
                assert classify_phase(temperature, order) in phases - {"NUCLEATING"}
                overlaps += 1
    assert overlaps > 1000


@pytest.mark.parametrize(
    ("temperature", "order", "phase"),
    [
        (0.0, 0.0, "CRYSTALLINE"),
        (0.2999, 0.0, "CRYSTALLINE"),
        (0.3, 0.7, "SUPERCOOLED"),
        (0.3, 0.49, "NUCLEATING"),
        (0.45, 0.55, "SUPERCOOLED"),
        (0.5, 0.4, "ANNEALING"),
        (0.5, 0.39, "NUCLEATING"),
        (0.7631, 1.0, "ANNEALING"),
        (0.7632, 1.0, "PLASMA"),
        (1.0, 0.0, "PLASMA"),
    ],
)
def test_phase_boundaries(temperature: float, order: float, phase: str) -> None:
    assert classify_phase(temperature, order) == phase


@pytest.mark.parametrize("point", [(-0.01, 0.5), (0.5, 1.01), (math.nan, 0.5), (0.5, math.nan)])
def test_a_point_outside_the_square_is_refused(point: tuple[float, float]) -> None:
    with pytest.raises(ValueError):
        classify_phase(*point)


def test_everything_at_the_critical_temperature_is_plasma() -> None:
    assert CRITICAL_TEMPERATURE == 0.7632
    assert {classify_phase(CRITICAL_TEMPERATURE, order) for order in GRID} == {"PLASMA"}


def test_functional_by_hand() -> None:
    # 0.62 − 0.3·0.40 + 0.25·0.50 = 0.62 − 0.12 + 0.125
    assert compute_functional(0.62, 0.40, 0.50) == 0.625


def test_phi_is_a_mean_and_causality_a_share() -> None:
    assert compute_phi([0.2, 0.4, 0.6, 0.8]) == pytest.approx(0.5)
    assert compute_causality([7, 5, 6], trials=10) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([12, 0, 0, 0], 0.0), ([3, 3, 3, 3], 1.0), ([6, 6, 0, 0], 0.5), ([6, 3, 3, 0], 0.75)],
)
def test_entropy_by_hand(counts: list[int], expected: float) -> None:
    # In bits: 0, 2, 1 and 1.5 of a maximum of 2.
    assert compute_entropy(counts) == pytest.approx(expected)


def test_confidence_is_capped_scaled_below_the_threshold_and_decays() -> None:
    assert compute_initial_confidence(1.0) == 0.95
    assert compute_initial_confidence(0.8) == 0.8
    assert compute_initial_confidence(0.7) == 0.7
    assert compute_initial_confidence(0.35) == pytest.approx(0.175)
    assert decay_confidence(0.8, 0) == 0.8
    assert decay_confidence(1.0, 10) == pytest.approx(1 / math.e)


def test_twenty_countries_with_the_published_profiles() -> None:
    assert len(COUNTRIES) == 20
    assert {COUNTRIES[code] for code in ("UKR", "SYR", "YEM", "PRK")} == {"high"}
    assert {COUNTRIES[code] for code in ("RUS", "IRN", "ISR", "VEN", "TWN")} == {"medium"}
    assert {COUNTRIES[code] for code in ("USA", "GBR", "FRA", "DEU", "JPN")} == {"low"}
    assert RISK_RANGES == {"high": (0.7, 0.9), "medium": (0.4, 0.7), "low": (0.15, 0.3)}


@pytest.mark.parametrize(
    ("risk", "band"),
    [(0.0, 0), (0.29, 0), (0.3, 1), (0.49, 1), (0.5, 2), (0.69, 2), (0.7, 3), (1.0, 3)],
)
def test_a_risk_band_holds_its_lower_end(risk: float, band: int) -> None:
    assert risk_band(risk) == band


def test_each_category_has_its_own_word_of_a_band() -> None:
    assert [risk_word(name, 0.8) for name in ("political", "economic", "security", "military")] == [
        "critical",
        "severe",
        "extreme",
        "crisis-level",
    ]
