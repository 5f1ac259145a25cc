from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower, TTestIndPower, TTestPower
from statsmodels.stats.proportion import proportion_effectsize

from luthier.errors import PlanError
from luthier.stats.paired import run_sign_flip_test
from luthier.stats.power import describe_power, power_as_json
from luthier.stats.render_power import render_power


def test_an_ablation_of_500_briefings():
    report = describe_power(500, 0.857, difference=0.009, arms=8)
    unpaired, loose, close = report.outlooks
    # √(0.857 · 0.143 / 500)
    assert report.standard_error == pytest.approx(0.01566, abs=1e-5)
    assert report.question.comparisons == 7
    assert unpaired.alone.detectable is not None
    effect = proportion_effectsize(0.857 + unpaired.alone.detectable, 0.857)
    assert NormalIndPower().power(effect, 500, 0.05) == pytest.approx(0.8, abs=0.015)
    assert unpaired.first.alpha == pytest.approx(0.05 / 7)
    # Two independent arms disagree on 2 · 0.857 · 0.143 = 24.5%, at a correlation of 0.5 on half.
    assert loose.disagreement is not None
    assert loose.disagreement.value == pytest.approx(0.857 * 0.143)
    assert loose.disagreement.basis == "assumed"
    for outlook in report.outlooks:
        assert outlook.alone.detectable is not None
        assert outlook.first.detectable is not None
        assert outlook.alone.detectable < outlook.first.detectable
    needed = [outlook.alone.examples for outlook in (close, loose, unpaired)]
    assert needed == sorted(needed)


def test_examples_needed_unpaired_equal_the_closed_form():
    report = describe_power(500, 0.857, difference=0.009)
    effect = proportion_effectsize(0.866, 0.857)
    expected = NormalIndPower().solve_power(effect, alpha=0.05, power=0.8)
    assert report.outlooks[0].alone.examples == pytest.approx(expected, rel=0.005)


def test_a_given_disagreement_stands_alone_and_is_said_to_be_given():
    report = describe_power(500, 0.857, disagreement=0.08)
    assert [outlook.way for outlook in report.outlooks] == ["unpaired", "paired"]
    assert report.outlooks[1].disagreement == (0.08, "given", "")
    # 2.80 · √(0.08/500) = 3.5 points; the exact test asks for a little more.
    assert report.outlooks[1].alone.detectable == pytest.approx(0.036, abs=0.001)


def test_graded_scores_have_the_power_of_the_t_tests():
    report = describe_power(50, 0.8, sd=0.1, correlation=0.5, difference=0.04)
    unpaired, paired = report.outlooks
    assert unpaired.alone.power == pytest.approx(TTestIndPower().power(0.4, 50, 0.05), abs=1e-4)
    # The paired difference has the standard deviation 0.1 · √(2 · (1 − 0.5)) = 0.1.
    assert paired.alone.power == pytest.approx(TTestPower().power(0.4, 50, 0.05), abs=1e-4)


def test_sign_flips_find_what_the_t_test_promises():
    # Differences of standard deviation 0.1 · √(2 · (1 − 0.5)) = 0.1 around 0.05.
    predicted = describe_power(30, 0.8, sd=0.1, correlation=0.5, difference=0.05).outlooks[1]
    generator = np.random.default_rng(0)
    draws = generator.normal(0.05, 0.1, size=(3000, 30))
    found = np.mean([run_sign_flip_test(d_N, resamples=999)[0] < 0.05 for d_N in draws])
    assert predicted.alone.power == pytest.approx(found, abs=0.02)


def test_a_wide_spread_of_seeds_is_not_mended_by_examples():
    settings = {"difference": 0.01, "seeds": 3, "seed_sd": 0.02, "correlation": 0.5}
    report = describe_power(500, 0.8, **settings)
    assert [outlook.alone.examples for outlook in report.outlooks] == [None, None]
    assert "More seeds would help" in render_power(report)


def test_what_takes_too_many_examples_is_not_laid_to_the_seeds():
    said = render_power(describe_power(500, 0.5, difference=1e-5))
    assert "over 100,000,000" in said
    assert "seeds' own spread" not in said


def test_holm_s_first_step_is_not_rounded_away():
    assert "5% / 4 = 1.25%" in " ".join(render_power(describe_power(500, 0.8, arms=5)).split())


def test_more_seeds_find_smaller_differences():
    found = [
        describe_power(500, 0.8, seeds=seeds, correlation=0.5).outlooks[1].alone.detectable
        for seeds in (2, 3, 5)
    ]
    assert None not in found
    assert found == sorted(found, key=lambda value: -(value or 0))


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"n": 1, "rate": 0.8}, "--n"),
        ({"n": 500, "rate": 85.7}, "--rate .* write 0.857"),
        ({"n": 500, "rate": -0.1}, "--rate"),
        ({"n": 500, "rate": 0.857, "difference": 0.2}, "--difference"),
        ({"n": 500, "rate": 0.857, "difference": 0.9e1}, "--difference .* write 0.09"),
        ({"n": 500, "rate": 0.857, "difference": 0.0}, "--difference"),
        ({"n": 500, "rate": 0.857, "seeds": 0}, "--seeds"),
        ({"n": 500, "rate": 0.857, "arms": 1}, "--arms .* baseline"),
        ({"n": 500, "rate": 0.857, "disagreement": 0.5}, "--disagreement .* at most 0.286"),
        ({"n": 500, "rate": 0.857, "difference": 0.05, "disagreement": 0.01}, "--disagreement"),
        ({"n": 500, "rate": 0.8, "disagreement": 0.1, "correlation": 0.5}, "give one"),
        ({"n": 500, "rate": 0.8, "correlation": 1.5}, "--correlation"),
        ({"n": 500, "rate": 0.8, "sd": -1.0}, "--sd"),
        ({"n": 500, "rate": 0.8, "sd": 0.1, "disagreement": 0.1}, "--correlation"),
        ({"n": 500, "rate": 0.8, "alpha": 0.0}, "--alpha"),
        ({"n": 500, "rate": 0.8, "power": 80.0}, "--power"),
        ({"n": 500, "rate": 0.8, "power": 0.01}, "--power"),
        ({"n": 500, "rate": float("nan")}, "--rate"),
    ],
)
def test_nonsense_is_refused_and_names_the_flag(settings: dict[str, float], flag: str):
    with pytest.raises(PlanError, match=flag):
        describe_power(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [
        {"n": 500, "rate": 0.857, "difference": 0.009, "arms": 8},
        {"n": 500, "rate": 0.857, "difference": 0.009, "arms": 8, "seeds": 3},
        {"n": 2, "rate": 0.5},
        {"n": 50, "rate": 1.0},
        {"n": 50, "rate": 0.0, "arms": 120, "seeds": 2},
        {"n": 1_000_000, "rate": 0.95, "difference": 0.0001},
        {"n": 500, "rate": 7.5, "sd": 1.25, "difference": -0.1, "seeds": 4},
        {"n": 500, "rate": 0.8, "sd": 0.0},
    ],
)
def test_every_answer_fits_80_columns_and_is_finite_json(settings: dict[str, float]):
    report = describe_power(**settings)  # type: ignore[arg-type]
    lines = render_power(report).splitlines()
    assert max(len(line) for line in lines) <= 80
    json.loads(json.dumps(power_as_json(report), allow_nan=False))


def test_assumptions_are_shown_with_their_basis():
    text = " ".join(render_power(describe_power(500, 0.857, seeds=3, arms=8)).split())
    assert "(assumed)" in text
    assert "assumed: 1 point beyond the noise" in text
    assert "5% / 7" in text
    assert "assumed" not in render_power(describe_power(500, 0.857, disagreement=0.08))


def test_power_imports_without_torch_statsmodels_or_rich():
    code = (
        "import sys, luthier.stats.render_power as r, luthier.stats.power as p; "
        "r.render_power(p.describe_power(500, 0.857, arms=8)); "
        "print([m for m in ('torch', 'scipy.stats', 'statsmodels', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
