"""Score one Elle briefing against its true values; pure, docs/elle.md states the same rules.

Measures what a reader of a briefing needs: does it parse, are its figures right, does it keep to
the agreed form. It leaves out whether the prose agrees with the figures.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, NoReturn, cast

from luthier.data.elle.framework import MAX_CONFIDENCE
from luthier.data.elle.world import REQUIRED_KEYS

TOLERANCE = 0.1
OVERALL_WEIGHTS = {"json_valid": 0.15, "cic_accuracy": 0.50, "format": 0.35}
CIC_VALUES = ("phi", "entropy", "causality")
CIC_PARTS = (*CIC_VALUES, "phase", "confidence")
FORMAT_PARTS = ("required_keys", "nothing_around", "flat", "tone")

METRIC_KINDS: dict[str, Literal["yes/no", "score"]] = {
    "json_valid": "yes/no",
    "phi": "score",
    "entropy": "score",
    "causality": "score",
    "phase": "yes/no",
    "confidence": "yes/no",
    "cic_accuracy": "score",
    "required_keys": "score",
    "nothing_around": "yes/no",
    "flat": "yes/no",
    "tone": "yes/no",
    "format": "score",
    "overall": "score",
}

# Chat, apology and slang: words that no briefing uses, matched whole and without case. "I" alone
# is not among them: it is also the numeral of World War I.
UNPROFESSIONAL_WORDS = frozenset(
    {"i'm", "i'll", "i've", "i'd", "im", "me", "my", "sorry", "please", "thanks", "okay", "oops"}
    | {"hello", "hi", "hey", "guys", "dude", "haha", "lol", "omg", "oh", "wow", "yay", "damn"}
    | {"awesome", "cool", "gonna", "gotta", "kinda", "wanna", "yeah", "yep"}
)
_FIRST_PERSON = re.compile(
    r"\bi (?:am|think|believe|can|cannot|could|will|would|have|hope|see|guess|know)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf]")
_MARKDOWN = re.compile(r"\*\*|__|`|^\s*(?:#|[-*+]\s)|\]\(", re.MULTILINE)

# A digit run longer than this is read as a float: int() refuses 4,300 digits and is quadratic.
_LONGEST_INT = 18


class _Parsed(NamedTuple):
    """What was found in an output.

    Attributes:
        valid: the whole output is one JSON value.
        briefing: the object found, without keys that occur twice; None where there is none.
        repeats: whether a key occurs twice.
    """

    valid: bool
    briefing: dict[str, Any] | None
    repeats: bool


def score_elle(output: str, truth: Mapping[str, Any]) -> dict[str, float]:
    """Score `output`, any string, against `truth`; every score lies in [0, 1].

    - `json_valid`: the whole output is one JSON value. NaN and Infinity are not JSON.
    - The other parts look at the briefing: the object that begins at the first `{`, so that a
      right briefing inside a code fence loses `json_valid` and `nothing_around` only. Where there
      is none they are all 0. A key that occurs twice counts as absent.
    - `phi`, `entropy`, `causality`: max(0, 1 − |error| / 0.1); 0 for anything but a finite number
      (a number in quotes and `true` are none).
    - `phase`: 1 when equal to the truth, letter by letter.
    - `confidence`: 1 for a number in [0, 0.95] that is at most `truth["confidence_bound"]`,
      which is 0.95·e^(−0.1·months). Caution is not punished: 0 is within bounds.
    - `cic_accuracy`: mean of these five. Absent with its parts where `truth` has no `phi` (basic).
    - `required_keys`: share of the five required keys that hold a non-empty text.
    - `nothing_around`: 1 when the output but for white space is the briefing.
    - `flat`: 1 when no value is an object or a list and no key occurs twice.
    - `tone`: 1 when there is text and none of it has an exclamation mark, an emoji, Markdown, "I"
      with a verb, or a word of UNPROFESSIONAL_WORDS.
    - `format`: mean of these four.
    - `overall`: 0.15·json_valid + 0.50·cic_accuracy + 0.35·format; without `cic_accuracy` the
      other two weights are scaled to add up to 1 (0.3 and 0.7).
    """
    parsed = _parse_output(output)
    scores = {"json_valid": float(parsed.valid)}
    if "phi" in truth:
        parts = _score_cic(parsed.briefing or {}, truth)
        scores |= parts | {"cic_accuracy": _mean(parts)}
    parts = _score_format(parsed)
    scores |= parts | {"format": _mean(parts)}
    weights = {name: weight for name, weight in OVERALL_WEIGHTS.items() if name in scores}
    total = sum(weight * scores[name] for name, weight in weights.items())
    scores["overall"] = total / sum(weights.values())
    return scores


def _mean(parts: Mapping[str, float]) -> float:
    return sum(parts.values()) / len(parts)


def _score_cic(briefing: Mapping[str, Any], truth: Mapping[str, Any]) -> dict[str, float]:
    parts: dict[str, float] = {}
    for name in CIC_VALUES:
        value = _number(briefing.get(name))
        error = math.inf if value is None else abs(value - truth[name])
        parts[name] = max(0.0, 1.0 - error / TOLERANCE)
    parts["phase"] = float(briefing.get("phase") == truth["phase"])
    confidence = _number(briefing.get("confidence"))
    highest = min(MAX_CONFIDENCE, truth["confidence_bound"])
    parts["confidence"] = float(confidence is not None and 0.0 <= confidence <= highest)
    return parts


def _score_format(parsed: _Parsed) -> dict[str, float]:
    briefing = parsed.briefing
    if briefing is None:
        return dict.fromkeys(FORMAT_PARTS, 0.0)
    present = sum(_is_text(briefing.get(key)) for key in REQUIRED_KEYS)
    nested = any(isinstance(value, (dict, list)) for value in briefing.values())
    return {
        "required_keys": present / len(REQUIRED_KEYS),
        "nothing_around": float(parsed.valid),
        "flat": float(not nested and not parsed.repeats),
        "tone": float(_is_professional(briefing)),
    }


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_professional(briefing: Mapping[str, Any]) -> bool:
    texts = [value for value in briefing.values() if _is_text(value)]
    return bool(texts) and not any(_is_casual(text) for text in texts)


def _is_casual(text: str) -> bool:
    words = (match.group().replace("’", "'").lower() for match in _WORD.finditer(text))
    return (
        "!" in text
        or _MARKDOWN.search(text) is not None
        or _EMOJI.search(text) is not None
        or _FIRST_PERSON.search(text) is not None
        or any(word in UNPROFESSIONAL_WORDS for word in words)
    )


def _number(value: object) -> float | None:
    # bool is a kind of int in Python, not in JSON.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _parse_output(output: str) -> _Parsed:
    whole, valid = _decode(output.strip())
    if valid:
        return _Parsed(True, *_open_object(whole))
    start = output.find("{")
    inner, found = _decode(output[start:], prefix=True) if start >= 0 else (None, False)
    return _Parsed(False, *_open_object(inner if found else None))


class _Pairs(list[tuple[str, Any]]):
    """An object as it stands in the text, before repeated keys fold into one."""


def _open_object(value: object) -> tuple[dict[str, Any] | None, bool]:
    if not isinstance(value, _Pairs):
        return None, False
    times = Counter(key for key, _ in value)
    once = {key: item for key, item in value if times[key] == 1}
    return once, len(times) < len(value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _read_int(digits: str) -> float:
    return int(digits) if len(digits) <= _LONGEST_INT else float(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Pairs, parse_constant=_refuse_constant, parse_int=_read_int
)


def _decode(text: str, prefix: bool = False) -> tuple[object, bool]:
    """The JSON value of `text` (with `prefix`, of its beginning) and whether there is one."""
    try:
        value = _DECODER.raw_decode(text)[0] if prefix else _DECODER.decode(text)
    # Nesting deeper than the interpreter's stack: no reader of a flat briefing would take it.
    except (ValueError, RecursionError):
        return None, False
    return cast(object, value), True
