"""How often a verdict claims a difference between equal arms: every path of `luthier compare`.

`scripts/check_error_rates.py` measures more settings, and docs/statistics.md holds its tables.
Of 20,000 studies at a rate of 0.05 one standard deviation is 0.0015.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from luthier.stats.power_proportions import compute_mcnemar_power, compute_two_proportion_power

SCRIPT = Path(__file__).parents[2] / "scripts" / "null_studies.py"
STUDIES = 20_000
NOISE = 3 * 0.0015


def _load_script():
    spec = importlib.util.spec_from_file_location("null_studies", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


null = _load_script()


@pytest.mark.parametrize(("n", "correlation"), [(100, 0.8), (500, 0.3)])
def test_exact_mcnemar(n: int, correlation: float):
    setting = null.Setting(n, (1, 1), correlation=correlation, rate=0.857)
    assert null.measure_claims(setting, null.claim_by_mcnemar, STUDIES) <= 0.05 + NOISE


def test_sign_flip_permutation():
    # Exact up to 13 differences; beyond, of 999 patterns 49 may be as large: 0.049.
    few = null.Setting(8, (1, 1))
    rate = null.measure_claims(few, lambda arms: null.claim_by_sign_flip(arms, 999), 4000)
    assert rate <= 0.05 + 3 * 0.0035
    many = null.Setting(30, (1, 1), correlation=0.8)
    rate = null.measure_claims(many, lambda arms: null.claim_by_sign_flip(arms, 999), 4000)
    assert rate == pytest.approx(0.049, abs=3 * 0.0035)


@pytest.mark.parametrize(("rate", "n"), [(0.857, 500), (0.5, 250), (0.5, 7600), (0.65, 1000)])
def test_counts_by_z(rate: float, n: int):
    assert 0.045 <= null.measure_counts((rate, rate), n, STUDIES) <= 0.055


@pytest.mark.parametrize(("rate", "n"), [(0.5, 50), (0.5, 100), (0.857, 240), (0.9, 20)])
def test_small_counts_by_an_exact_test(rate: float, n: int):
    assert null.measure_counts((rate, rate), n, STUDIES) <= 0.05 + NOISE


@pytest.mark.parametrize("n", [10, 50, 100, 249, 250, 251, 300, 407, 500])
def test_counts_at_every_rate_summed_over_all_outcomes(n: int):
    rates = np.linspace(0.5, 1, 26)[:-1]
    errors = [compute_two_proportion_power(rate, rate, n, 0.05) for rate in rates]
    assert max(errors) <= (0.05 if n < 250 else 0.055)


@pytest.mark.parametrize("n", [20, 100, 500, 7600])
def test_mcnemar_at_every_disagreement_summed_over_all_outcomes(n: int):
    errors = [compute_mcnemar_power(share, 0.0, n, 0.05) for share in (0.02, 0.1, 0.3, 0.6, 1.0)]
    assert max(errors) <= 0.05


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("seeds", [(2, 2), (3, 3), (5, 5), (2, 5)])
def test_several_seeds_and_graded_scores(seeds: tuple[int, int], spread: float):
    setting = null.Setting(100, seeds, spread, correlation=0.3)
    assert 0.045 - NOISE <= null.measure_crossed(setting, STUDIES) <= 0.055


@pytest.mark.parametrize(
    ("n", "seeds", "spread", "correlation"),
    [
        (100, (2, 2), 0.1, 0.5),
        (100, (3, 3), 0.3, 0.8),
        (100, (5, 5), 0.05, 0.5),
        (200, (2, 5), 0.1, 0.8),
    ],
)
def test_several_seeds_and_yes_no_answers(n, seeds, spread, correlation):
    setting = null.Setting(n, seeds, spread, correlation, rate=0.857)
    assert 0.045 - NOISE <= null.measure_crossed(setting, STUDIES) <= 0.055 + NOISE


def test_an_untouched_baseline_and_three_seeds():
    setting = null.Setting(100, (1, 3), (0.0, 0.1), correlation=0.3)
    assert 0.045 - NOISE <= null.measure_crossed(setting, STUDIES) <= 0.055 + NOISE


def test_holm_keeps_the_error_of_a_whole_table():
    assert null.measure_counts((0.857,) * 5, 500, STUDIES) <= 0.055
    arms = null.Setting(100, (1,) * 5, rate=0.857)
    assert null.measure_claims(arms, null.claim_by_mcnemar, STUDIES // 4) <= 0.055
    crossed = null.Setting(100, (3,) * 4, 0.1, 0.5)
    assert null.measure_crossed(crossed, STUDIES) <= 0.055
