"""What a user states for a plan: by flags, or in a study's `plan`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast, get_args

from luthier.errors import PlanError
from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Sharding
from luthier.plan.work.workload import Engine
from luthier.recipe.plan_section import PlanSection, value_for
from luthier.recipe.study import Study

# What was bought or measured on one machine, and holds for no other.
_OF_ONE_DEVICE = ("usd_per_hour", "tokens_per_second", "hours")
_OF_ONE_SET_UP = ("tokens_per_second", "hours")

# The metric of a score that is stated without one.
SCORE = "score"


class PlanInputs(NamedTuple):
    """What is stated for one arm; None where nothing is.

    Attributes:
        gpu: name of the device.
        gpus: how many of it.
        usd_per_hour: price of one device for an hour, in dollars.
        sharding: how several devices share the model.
        engine: whose training loop.
        samples: training examples of an epoch.
        average_tokens: tokens of an average example; both answers of a pair together.
        tokens_per_second: training throughput of all devices together.
        hours: training time, where it is stated instead.
        expected: metric → expected score of this arm; `score` where no metric is named.
        test_examples: examples scored per task.
        cores: of a processor that one run may use; all when None.
    """

    gpu: str | None = None
    gpus: int | None = None
    usd_per_hour: float | None = None
    sharding: Sharding | None = None
    engine: Engine | None = None
    samples: int | None = None
    average_tokens: float | None = None
    tokens_per_second: float | None = None
    hours: float | None = None
    expected: Mapping[str, float] | None = None
    test_examples: int | None = None
    cores: int | None = None


def read_flags(*, sharding: str | None, engine: str | None, **flags: Any) -> PlanInputs:
    """The flags of a command line as inputs.

    Raises:
        PlanError: a way of sharing or an engine that does not exist, with the nearest that does;
            an amount that is not above 0.
    """
    _check_name("--sharding", sharding, get_args(Sharding))
    _check_name("--engine", engine, get_args(Engine))
    for name in ("average_tokens", "tokens_per_second"):
        value = flags.get(name)
        if value is not None and not 0 < value < math.inf:
            raise PlanError(f"--{name.replace('_', '-')} {value:g}: give a number above 0.")
    return PlanInputs(
        sharding=cast("Sharding | None", sharding), engine=cast("Engine | None", engine), **flags
    )


def _check_name(flag: str, name: str | None, known: tuple[str, ...]) -> None:
    if name is None or name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}?" if near else f"it is one of {', '.join(known)}."
    raise PlanError(f"{flag} {name}: {meant}")


def resolve_inputs(
    flags: PlanInputs, section: PlanSection | None = None, arm: str | None = None
) -> PlanInputs:
    """Lay the flags over what a study's `plan` says of one arm.

    A flag that names another device leaves the file's price, throughput and hours aside, and one
    that names another number of devices, sharding or engine its throughput and hours: they were
    not that machine's. So do other amounts with stated hours.

    Args:
        flags: what the command line says; None for what it does not.
        section: the study's `plan`; None for a recipe that stands alone.
        arm: whose values, where the section gives each arm its own.
    """
    if section is None:
        return flags
    stated: dict[str, Any] = {
        key: value_for(getattr(section, key), arm)
        for key in PlanInputs._fields
        if key in PlanSection.model_fields and key != "expected"
    }
    stated["expected"] = expected_scores(section).get(arm or "")
    for key in _no_longer_true(flags, stated):
        stated[key] = None
    given = {key: value for key, value in flags._asdict().items() if value is not None}
    return PlanInputs(**{**stated, **given})


def inputs_of_arm(flags: PlanInputs, study: Study, arm: str) -> PlanInputs:
    """`resolve_inputs`, with the examples that the study itself says it draws."""
    inputs = resolve_inputs(flags, study.plan, arm)
    return inputs._replace(
        samples=inputs.samples or study.sample.train,
        test_examples=inputs.test_examples or study.sample.test,
    )


def expected_scores(section: PlanSection | None) -> dict[str, dict[str, float]]:
    """Arm → metric → expected score; a score without a metric is named `score`."""
    if section is None or section.expected is None:
        return {}
    return {
        arm: dict(scores) if isinstance(scores, Mapping) else {SCORE: scores}
        for arm, scores in section.expected.items()
    }


def find_hardest_rate(scores: Mapping[str, float]) -> Figure | None:
    """The share among expected scores that varies most, the one nearest a half; None without one.

    What tells arms apart by it does so by the other metrics too.
    """
    shares = {metric: score for metric, score in scores.items() if 0 < score < 1}
    if not shares:
        return None
    metric = min(shares, key=lambda name: abs(shares[name] - 0.5))
    return Figure(shares[metric], "given", f"`plan.expected`, {metric}")


def _no_longer_true(flags: PlanInputs, stated: Mapping[str, Any]) -> set[str]:
    """The stated values that belong to another machine or other amounts than the flags name."""
    dropped: set[str] = set()
    gpu = stated["gpu"]
    if flags.gpu is not None and gpu is not None and flags.gpu.casefold() != gpu.casefold():
        dropped |= set(_OF_ONE_DEVICE)
    if flags.gpus is not None and flags.gpus != (stated["gpus"] or 1):
        dropped |= set(_OF_ONE_SET_UP)
    for key in ("sharding", "engine"):
        value = getattr(flags, key)
        if value is not None and value != stated[key]:
            dropped |= set(_OF_ONE_SET_UP)
    others = (flags.samples, flags.average_tokens, flags.tokens_per_second)
    if any(value is not None for value in others):
        dropped.add("hours")
    if flags.hours is not None:
        dropped.add("tokens_per_second")
    return dropped
