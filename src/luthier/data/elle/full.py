"""The full telling: a metrics report with four nations, a prose briefing with every category."""

from __future__ import annotations

from luthier.data.elle.flat_json import FlatValue
from luthier.data.elle.framework import COHESION_THRESHOLD, CRITICAL_TEMPERATURE, PHASE_TABLE
from luthier.data.elle.situation import FORECASTS_PER_SCALE, Situation
from luthier.data.elle.world import (
    COUNTRIES,
    NOUN_OF_CATEGORY,
    RISK_CATEGORIES,
    Level,
    next_step,
    risk_word,
)

SYSTEM = (
    "You are Elle, an intelligence analyst. Turn the pipeline metrics into one flat JSON object "
    "of short professional prose, with nothing before or after it. Do not fabricate events. "
    "Confidence never exceeds 0.95 and decays by e^(-0.1 x months)."
)


def tell_prompt(situation: Situation, level: Level, hide_values: bool) -> str:
    """The user's report, one metric or nation a line."""
    lead = situation.nations[0][0]
    lines = ["PIPELINE METRICS", "NATIONS:"]
    lines += [f"  {code}: risk={risk:.0%}" for code, risk in situation.nations]
    lines += [f"CATEGORIES for {lead}:"]
    lines += [f"  {name}: {situation.risks[name]:.2f}" for name in RISK_CATEGORIES]
    if level == "cic":
        lines += _observations(situation) if hide_values else _values(situation)
        lines += [
            "STATE:",
            f"  temperature: {situation.temperature:.2f}",
            f"  order: {situation.order:.2f}",
            f"  cluster cohesion: {situation.cohesion:.2f}",
            f"  months since observation: {situation.months}",
            f"  driver: {situation.driver}",
        ]
    return "\n".join(lines)


def _values(situation: Situation) -> list[str]:
    return [
        "CIC:",
        f"  Φ: {situation.phi:.2f}",
        f"  H: {situation.entropy:.2f}",
        f"  C: {situation.causality:.2f}",
        f"  F = Φ - 0.3 H + 0.25 C: {situation.functional:.2f}",
    ]


def _observations(situation: Situation) -> list[str]:
    seen = situation.observations
    return [
        "OBSERVATIONS:",
        f"  links (Φ is their mean): {', '.join(f'{value:.2f}' for value in seen.couplings)}",
        "  signals by kind (H is their entropy over its maximum): "
        + ", ".join(map(str, seen.signals)),
        f"  forecasts come true of {FORECASTS_PER_SCALE} at each scale (C is their share): "
        + ", ".join(map(str, seen.hits)),
        "  F = Φ - 0.3 H + 0.25 C",
    ]


def tell_answer(situation: Situation, level: Level) -> dict[str, FlatValue]:
    """The briefing's keys and values in order."""
    answer: dict[str, FlatValue] = {
        name: _assess_category(situation, name) for name in RISK_CATEGORIES
    }
    answer["summary"] = _summarise(situation)
    answer["nsm"] = _recommend(situation)
    if level == "cic":
        answer |= _tell_cic(situation)
    return answer


def _assess_category(situation: Situation, name: str) -> str:
    code, risk = situation.nations[0]
    value = situation.risks[name]
    relation = "above" if value > risk else "below" if value < risk else "at"
    return (
        f"{name.capitalize()} {NOUN_OF_CATEGORY[name]} in {code} is {risk_word(name, value)} at "
        f"{value:.2f}. This stands {relation} the national risk of {risk:.2f}."
    )


def _summarise(situation: Situation) -> str:
    risks = [risk for _, risk in situation.nations]
    mean = sum(risks) / len(risks)
    highest, highest_risk = max(situation.nations, key=lambda nation: nation[1])
    worst = max(RISK_CATEGORIES, key=lambda name: situation.risks[name])
    return (
        f"Across {len(risks)} nations the mean risk is {risk_word('political', mean)} at "
        f"{mean:.2f}. {highest} carries the highest risk at {highest_risk:.2f} and has a "
        f"{COUNTRIES[highest]} risk profile. In {situation.nations[0][0]} the leading category "
        f"is {worst}."
    )


def _recommend(situation: Situation) -> str:
    worst = max(RISK_CATEGORIES, key=lambda name: situation.risks[name])
    value = situation.risks[worst]
    return (
        f"{next_step(value).capitalize()} the {worst} posture of {situation.nations[0][0]}, where "
        f"risk stands at {value:.2f}. Reassess when new observations arrive."
    )


def _tell_cic(situation: Situation) -> dict[str, FlatValue]:
    correlate = situation.correlate
    side = "above" if situation.temperature >= CRITICAL_TEMPERATURE else "below"
    cluster = "meets" if situation.cohesion >= COHESION_THRESHOLD else "falls short of"
    return {
        "cic_assessment": (
            f"Integration is {situation.phi:.2f}, entropy {situation.entropy:.2f} and causal "
            f"power {situation.causality:.2f}. The functional is "
            f"{situation.phi:.2f} - 0.3 x {situation.entropy:.2f} + 0.25 x "
            f"{situation.causality:.2f} = {situation.functional:.2f}."
        ),
        "phi": situation.phi,
        "entropy": situation.entropy,
        "causality": situation.causality,
        "functional": situation.functional,
        "phase_assessment": (
            f"The system is {situation.phase}: {PHASE_TABLE[situation.phase].description}. Its "
            f"temperature of {situation.temperature:.2f} lies {side} the critical value "
            f"{CRITICAL_TEMPERATURE}."
        ),
        "phase": situation.phase,
        "temperature": situation.temperature,
        "order": situation.order,
        "confidence_bounds": (
            f"Cluster cohesion of {situation.cohesion:.2f} {cluster} the threshold of "
            f"{COHESION_THRESHOLD}. After {situation.months} months confidence is "
            f"{situation.confidence:.2f}."
        ),
        "confidence": situation.confidence,
        "decay": situation.decay,
        "months": situation.months,
        "historical_parallel": (
            f"The pattern resembles the {correlate.event} of {correlate.period}: "
            f"{correlate.pattern}."
        ),
        "parallel": correlate.event,
        "period": correlate.period,
        "pattern": correlate.pattern,
    }
