"""Elle rows: a conversation with a flat JSON briefing, and the true values beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from luthier.data.elle import compact, full
from luthier.data.elle.flat_json import write_flat_json
from luthier.data.elle.situation import Situation, draw_situation
from luthier.data.elle.world import REQUIRED_KEYS, Level, Style
from luthier.data.examples import Example, Message
from luthier.errors import DataError


def generate_elle(
    level: Level, style: Style, count: int, seed: int, hide_values: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield `count` rows `{"id", "messages": [system, user, assistant], "truth"}`.

    Row i depends on (seed, i) alone, so a longer file begins with the shorter one, and the truth
    of a row is the same in every style and with hidden values.

    Args:
        level: "basic" has the eight categories; "cic" adds Φ, H, C, F, phase, confidence and
            parallel.
        style: "compact" is 150 to 220 tokens a row, "full" is prose over four nations.
        count: number of rows, at least 1.
        seed: any integer.
        hide_values: give observations from which Φ, H, C and F follow, never the values; only
            for `cic`.

    Raises:
        DataError: an unknown level or style, a count below 1, or values to hide where the level
            has none.
    """
    _check_choice("level", level, get_args(Level))
    _check_choice("style", style, get_args(Style))
    if count < 1:
        raise DataError(f"count is {count}: ask for at least 1 row.")
    if hide_values and level == "basic":
        raise DataError(
            "a basic briefing has no values to hide: use level cic, or show the values."
        )
    return (_build_row(level, style, seed, index, hide_values) for index in range(count))


def elle_example(row: Mapping[str, Any], where: str = "") -> Example:
    """The Example of a generated row; the assistant's turn is trained."""
    messages = tuple(
        Message(turn["role"], turn["content"], turn["role"] == "assistant")
        for turn in row["messages"]
    )
    return Example(id=row["id"], messages=messages, truth=row["truth"], where=where)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DataError(f"{name} {value!r} is unknown: choose {' or '.join(choices)}.")


def _build_row(
    level: Level, style: Style, seed: int, index: int, hide_values: bool
) -> dict[str, Any]:
    situation = draw_situation(seed, index)
    telling = compact if style == "compact" else full
    turns = (
        ("system", telling.SYSTEM),
        ("user", telling.tell_prompt(situation, level, hide_values)),
        ("assistant", write_flat_json(telling.tell_answer(situation, level))),
    )
    return {
        "id": f"elle-{level}-{seed}-{index:06d}",
        "messages": [{"role": role, "content": content} for role, content in turns],
        "truth": _truth(situation, level),
    }


def _truth(situation: Situation, level: Level) -> dict[str, Any]:
    truth: dict[str, Any] = {
        "level": level,
        "required_keys": list(REQUIRED_KEYS),
        "nations": dict(situation.nations),
        "risks": situation.risks,
    }
    if level == "cic":
        correlate = situation.correlate
        truth |= {
            "phi": situation.phi,
            "entropy": situation.entropy,
            "causality": situation.causality,
            "functional": situation.functional,
            "phase": situation.phase,
            "temperature": situation.temperature,
            "order": situation.order,
            "confidence": situation.confidence,
            "confidence_bound": round(situation.confidence_bound, 4),
            "decay": situation.decay,
            "months": situation.months,
            "cohesion": situation.cohesion,
            "driver": situation.driver,
            "event": correlate.event,
            "period": correlate.period,
            "pattern": correlate.pattern,
        }
    return truth
