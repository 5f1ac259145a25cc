"""The Elle world: twenty countries, six risk categories, risk words by band."""

from __future__ import annotations

from typing import Literal

Level = Literal["basic", "cic"]
Style = Literal["compact", "full"]
RiskProfile = Literal["high", "medium", "low"]

# Range of a country's risk by profile; both ends belong to it.
RISK_RANGES: dict[RiskProfile, tuple[float, float]] = {
    "high": (0.70, 0.90),
    "medium": (0.40, 0.70),
    "low": (0.15, 0.30),
}

# The source names fourteen of its twenty countries. SDN (high), CHN, PAK, TUR (medium), KOR and
# CAN (low) are ours: they keep the three profiles of similar size (5, 8, 7).
COUNTRIES: dict[str, RiskProfile] = {
    "UKR": "high",
    "SYR": "high",
    "YEM": "high",
    "PRK": "high",
    "SDN": "high",
    "RUS": "medium",
    "IRN": "medium",
    "ISR": "medium",
    "VEN": "medium",
    "TWN": "medium",
    "CHN": "medium",
    "PAK": "medium",
    "TUR": "medium",
    "USA": "low",
    "GBR": "low",
    "FRA": "low",
    "DEU": "low",
    "JPN": "low",
    "KOR": "low",
    "CAN": "low",
}

RISK_CATEGORIES = ("political", "economic", "security", "military", "financial", "cyber")
CIC_COMPACT_CATEGORIES = ("political", "economic", "security")
REQUIRED_KEYS = ("political", "economic", "security", "summary", "nsm")

# (lower end, words); a band holds its lower end and not its upper, the last one holds 1.
RISK_BANDS: tuple[tuple[float, tuple[str, str, str, str]], ...] = (
    (0.0, ("stable", "low", "minimal", "contained")),
    (0.3, ("moderate", "elevated", "notable", "increasing")),
    (0.5, ("high", "significant", "concerning", "escalating")),
    (0.7, ("critical", "severe", "extreme", "crisis-level")),
)

# Which of a band's four words a category uses, so that the right word follows from the risk.
WORD_OF_CATEGORY: dict[str, int] = {
    "political": 0,
    "economic": 1,
    "security": 2,
    "military": 3,
    "financial": 1,
    "cyber": 2,
}

NOUN_OF_CATEGORY: dict[str, str] = {
    "political": "pressure",
    "economic": "stress",
    "security": "threat",
    "military": "activity",
    "financial": "exposure",
    "cyber": "threat",
}

# The next step's verb, by band.
ACTIONS = ("monitor", "review", "prepare", "escalate")


def risk_band(risk: float) -> int:
    """Index into RISK_BANDS of a risk in [0, 1]."""
    return max(index for index, (low, _) in enumerate(RISK_BANDS) if risk >= low)


def risk_word(category: str, risk: float) -> str:
    """The word of `category` for `risk`, such as "severe" for an economic risk of 0.8."""
    return RISK_BANDS[risk_band(risk)][1][WORD_OF_CATEGORY[category]]


def next_step(risk: float) -> str:
    """The verb of the recommended action for `risk`."""
    return ACTIONS[risk_band(risk)]
