"""The compact telling: one line of metrics, a few words per key.

Made for a model of a few million parameters: every word of the answer follows from the prompt.
"""

from __future__ import annotations

from luthier.data.elle.flat_json import FlatValue
from luthier.data.elle.situation import Situation
from luthier.data.elle.world import (
    CIC_COMPACT_CATEGORIES,
    NOUN_OF_CATEGORY,
    RISK_CATEGORIES,
    Level,
    next_step,
    risk_word,
)

SYSTEM = "You are Elle. Answer with one flat JSON briefing."


def told_categories(level: Level) -> tuple[str, ...]:
    """The risk categories that a compact briefing of `level` covers."""
    return CIC_COMPACT_CATEGORIES if level == "cic" else RISK_CATEGORIES


def tell_prompt(situation: Situation, level: Level, hide_values: bool) -> str:
    """The user's line: risks, and for `cic` the values or the observations behind them."""
    code, risk = situation.nations[0]
    parts = [f"{code} risk {risk:.2f}"]
    parts += [f"{name} {situation.risks[name]:.2f}" for name in told_categories(level)]
    line = ", ".join(parts)
    if level == "basic":
        return line
    seen = situation.observations
    values = (
        f"links {' '.join(f'{coupling:.2f}' for coupling in seen.couplings)}; "
        f"signals {' '.join(map(str, seen.signals))}; hits {' '.join(map(str, seen.hits))}"
        if hide_values
        else f"phi {situation.phi:.2f}, H {situation.entropy:.2f}, "
        f"C {situation.causality:.2f}, F {situation.functional:.2f}"
    )
    state = f"T {situation.temperature:.2f}, order {situation.order:.2f}"
    age = f"cohesion {situation.cohesion:.2f}, months {situation.months}"
    return f"{line}; {values}; {state}; {age}; driver {situation.driver}"


def tell_answer(situation: Situation, level: Level) -> dict[str, FlatValue]:
    """The briefing's keys and values in order."""
    code, risk = situation.nations[0]
    names = told_categories(level)
    worst = max(names, key=lambda name: situation.risks[name])
    answer: dict[str, FlatValue] = {
        name: f"{risk_word(name, situation.risks[name])} {NOUN_OF_CATEGORY[name]}" for name in names
    }
    answer["summary"] = f"{code} {risk_word('political', risk)}, led by {worst}"
    answer["nsm"] = f"{next_step(situation.risks[worst])} {worst}"
    if level == "cic":
        answer |= {
            "phi": situation.phi,
            "entropy": situation.entropy,
            "causality": situation.causality,
            "functional": situation.functional,
            "phase": situation.phase,
            "confidence": situation.confidence,
            "parallel": situation.correlate.event,
        }
    return answer
