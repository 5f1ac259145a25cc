"""Arms against a baseline: which test, which interval, which verdict (docs/statistics.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ComparisonError
from luthier.stats.comparison import (
    Comparison,
    Direction,
    PairResult,
    decide_verdict,
    find_direction,
)
from luthier.stats.multiple import adjust_holm
from luthier.stats.paired import compute_bootstrap_interval, run_sign_flip_test
from luthier.stats.power_seeds import find_crossed_detectable
from luthier.stats.proportions import (
    Interval,
    compute_mcnemar_p,
    compute_normal_quantile,
    compute_paired_interval,
)
from luthier.stats.read import ArmScores, Kind
from luthier.stats.seeds import estimate_crossed_difference

FloatArray = NDArray[np.float64]

POWER = 0.8
MINIMUM_RESAMPLES = 100
EXAMPLES_SHOWN = 3


@dataclass(frozen=True)
class _Settings:
    """What every pair is computed with; `family_size` is the number of pairs."""

    alpha: float
    resamples: int
    seed: int
    family_size: int


class _Finding(NamedTuple):
    interval: Interval
    p_value: float
    test: str
    interval_method: str
    detectable_difference: float


def compare_arms(
    arms: Sequence[ArmScores],
    baseline: str | None = None,
    *,
    alpha: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
    direction: Direction | None = None,
) -> Comparison:
    """Compare every arm with the baseline, paired on the examples that both have.

    One seed each: exact McNemar with Tango's interval for yes/no scores, the sign-flip
    permutation test with a studentised bootstrap interval for others. Several seeds in an arm:
    the crossed bootstrap over examples and seeds. p-values are Holm-corrected over the arms, and
    the corrected one decides the verdict.

    Args:
        baseline: name (or argument) of the arm to compare with; the first arm without it.
        alpha: chance of any false claim in the whole table; intervals are at 1 − alpha.
        resamples: random draws of the permutation test and of the bootstrap.
        seed: of those draws; the same call gives the same numbers.
        direction: whether higher or lower is better; known by the metric's name without it.

    Raises:
        ComparisonError: fewer than two arms, one name twice, no such baseline, fewer than two
            shared examples, or alpha and resamples out of range.
    """
    base = _choose_baseline(arms, baseline)
    _check_settings(arms, alpha, resamples)
    others = [arm for arm in arms if arm is not base]
    settings = _Settings(alpha, resamples, seed, len(others))
    way = direction or find_direction(base.metric)
    pairs = [_compare_pair(arm, base, settings) for arm in others]
    corrected = adjust_holm([pair.p_value for pair in pairs])
    decided = tuple(
        replace(pair, p_holm=p, verdict=decide_verdict(pair.difference, p, alpha, way))
        for pair, p in zip(pairs, corrected, strict=True)
    )
    return Comparison(
        metric=base.metric,
        kind=_shared_kind(arms),
        direction=way,
        baseline=base.name,
        alpha=alpha,
        pairs=decided,
        notes=_collect_notes(arms, base, decided),
    )


def _choose_baseline(arms: Sequence[ArmScores], wanted: str | None) -> ArmScores:
    if len(arms) < 2:
        raise ComparisonError("a comparison needs two arms or more. Name a second one.")
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise ComparisonError(
            f"two arms have the same name ({', '.join(names)}). Give names: name=path."
        )
    if wanted is None:
        return arms[0]
    for arm in arms:
        if wanted in (arm.name, arm.source):
            return arm
    raise ComparisonError(f"no arm is called {wanted!r}; there are: {', '.join(names)}.")


def _check_settings(arms: Sequence[ArmScores], alpha: float, resamples: int) -> None:
    if not 0 < alpha < 1:
        raise ComparisonError(f"alpha is {alpha}: choose a value between 0 and 1, such as 0.05.")
    if resamples < MINIMUM_RESAMPLES:
        raise ComparisonError(f"{resamples} resamples are too few. Choose 100 or more.")
    metrics = {arm.metric for arm in arms}
    if len(metrics) > 1:
        raise ComparisonError(
            f"the arms carry different metrics ({', '.join(sorted(metrics))}). Compare one."
        )


def _shared_kind(arms: Sequence[ArmScores]) -> Kind:
    return "yes/no" if all(arm.kind == "yes/no" for arm in arms) else "score"


def _compare_pair(arm: ArmScores, base: ArmScores, settings: _Settings) -> PairResult:
    shared = sorted(set(arm.ids) & set(base.ids))
    if not shared:
        raise ComparisonError(
            f"{arm.name} and {base.name} share no example ids ({_show_ids(arm)} against "
            f"{_show_ids(base)}). Evaluate both on the same data."
        )
    if len(shared) < 2:
        raise ComparisonError(
            f"{arm.name} and {base.name} share one example only; a comparison needs two or more."
        )
    arm_SN, base_SN = _pick(arm, shared), _pick(base, shared)
    kind = _shared_kind([arm, base])
    if len(arm_SN) > 1 or len(base_SN) > 1:
        finding = _find_with_seeds(arm_SN, base_SN, kind, settings)
    elif kind == "yes/no":
        finding = _find_yes_no(arm_SN[0] - base_SN[0], settings)
    else:
        finding = _find_score(arm_SN[0] - base_SN[0], settings)
    return PairResult(
        arm=arm.name,
        baseline=base.name,
        n=len(shared),
        left_out=len(set(arm.ids) ^ set(base.ids)),
        seeds=len(arm_SN),
        baseline_seeds=len(base_SN),
        mean=float(arm_SN.mean()),
        baseline_mean=float(base_SN.mean()),
        difference=float((arm_SN.mean(axis=0) - base_SN.mean(axis=0)).mean()),
        p_holm=1.0,  # known once all pairs are
        verdict="no detectable difference",
        **finding._asdict(),
    )


def _show_ids(arm: ArmScores) -> str:
    return ", ".join(arm.ids[:EXAMPLES_SHOWN]) + ("…" if len(arm.ids) > EXAMPLES_SHOWN else "")


def _pick(arm: ArmScores, ids: Sequence[str]) -> FloatArray:
    column = {key: position for position, key in enumerate(arm.ids)}
    return arm.scores_SN[:, [column[key] for key in ids]]


def _find_yes_no(differences_N: FloatArray, settings: _Settings) -> _Finding:
    n = len(differences_N)
    gained = int(np.count_nonzero(differences_N > 0))
    lost = int(np.count_nonzero(differences_N < 0))
    # Two imagined discordant examples keep the error above zero where both arms always agree.
    error = float(np.append(differences_N, [1.0, -1.0]).std(ddof=1)) / math.sqrt(n + 2)
    return _Finding(
        interval=compute_paired_interval(gained, lost, n, 1 - settings.alpha),
        p_value=compute_mcnemar_p(gained, lost),
        test="exact McNemar",
        interval_method="Tango score",
        detectable_difference=_detectable(error, settings),
    )


def _find_score(differences_N: FloatArray, settings: _Settings) -> _Finding:
    draws = {"resamples": settings.resamples, "seed": settings.seed}
    p_value, is_exact = run_sign_flip_test(differences_N, **draws)
    error = float(differences_N.std(ddof=1)) / math.sqrt(len(differences_N))
    return _Finding(
        interval=compute_bootstrap_interval(differences_N, level=1 - settings.alpha, **draws),
        p_value=p_value,
        test="sign-flip permutation (exact)" if is_exact else "sign-flip permutation",
        interval_method="studentised bootstrap",
        detectable_difference=_detectable(error, settings),
    )


def _find_with_seeds(
    arm_SN: FloatArray, base_SN: FloatArray, kind: Kind, settings: _Settings
) -> _Finding:
    estimate = estimate_crossed_difference(arm_SN, base_SN, yes_no=kind == "yes/no")
    interval = estimate.compute_interval(1 - settings.alpha)
    if kind == "yes/no":
        interval = Interval(max(-1.0, interval.low), min(1.0, interval.high))
    return _Finding(
        interval=interval,
        p_value=estimate.compute_p(),
        test="crossed bootstrap t",
        interval_method="crossed bootstrap t",
        detectable_difference=find_crossed_detectable(
            estimate.example_variance,
            estimate.example_df,
            estimate.seed_variance,
            estimate.seed_df,
            settings.alpha / settings.family_size,
            POWER,
        ),
    )


def _detectable(standard_error: float, settings: _Settings) -> float:
    """(z₁₋α/2m + z₀.₈) standard errors; α/m is Holm's strictest step of m pairs."""
    strict = compute_normal_quantile(1 - settings.alpha / settings.family_size / 2)
    return (strict + compute_normal_quantile(POWER)) * standard_error


def _collect_notes(
    arms: Sequence[ArmScores], base: ArmScores, pairs: Sequence[PairResult]
) -> tuple[str, ...]:
    notes = [note for arm in arms for note in arm.notes]
    notes += [
        f"{pair.arm}: {pair.left_out} examples are left out, which only one of {pair.arm} and "
        f"{pair.baseline} has."
        for pair in pairs
        if pair.left_out
    ]
    single = [arm.name for arm in arms if len(arm.seeds) == 1]
    if len(single) == len(arms):
        notes.append(
            "Each arm has a single seed: how much results vary from seed to seed was not measured."
        )
    elif single == [base.name]:
        notes.append(
            f"{base.name} has a single seed: its seed-to-seed variation was not measured (an "
            "untouched model has none)."
        )
    elif single:
        notes.append(
            f"A single seed in {', '.join(single)}: seed-to-seed variation was not measured there."
        )
    if any(len(arm.seeds) == 2 for arm in arms):
        notes.append("Two seeds measure seed-to-seed variation poorly: intervals are wide.")
    return tuple(notes)
