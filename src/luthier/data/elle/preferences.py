"""Preference pairs from Elle rows: the right briefing, and one that fails in exactly one way.

The rejected answer is the right one with one thing changed, so the pair says what is wrong and
nothing else. What each way costs in the Elle scores (docs/elle.md), all others staying full:

    malformed JSON         one character is missing or too many: nothing can be read, all are 0
    missing key            required_keys
    wrong formula result   phi, entropy or causality: off by 0.2 to 0.4
    confidence above 0.95  confidence
    text around the JSON   json_valid, nothing_around
    wrong phase            phase
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple, TypeGuard, cast

from luthier.data.elle.flat_json import FlatValue, write_flat_json
from luthier.data.elle.framework import MAX_CONFIDENCE, PHASE_TABLE, Phase
from luthier.data.elle.world import REQUIRED_KEYS
from luthier.data.examples import Example, Message
from luthier.errors import DataError

Briefing = dict[str, FlatValue]

# The figures that the score looks at, and where the full telling's assessment repeats them.
FIGURES = {
    "phi": r"(?<=Integration is )F|(?<=functional is )F",
    "entropy": r"(?<=entropy )F|(?<=- 0\.3 x )F",
    "causality": r"(?<=causal power )F|(?<=\+ 0\.25 x )F",
}
PHASES: tuple[Phase, ...] = tuple(PHASE_TABLE)
# Twice the score's tolerance at least, so that the figure counts as wholly wrong.
SMALLEST_ERROR = 0.2
LARGEST_ERROR = 0.4

BEFORE = (
    "Here is the briefing:\n",
    "The requested assessment follows.\n\n",
    "Based on the metrics provided, the briefing reads as follows: ",
)
AFTER = (
    "\nThis briefing rests on the metrics provided.",
    "\n\nFurther detail is available on request.",
    " End of briefing.",
)


class Failure(NamedTuple):
    """A way in which a briefing fails.

    Attributes:
        can_show: whether a briefing has what this way spoils.
        spoil: the briefing's text with it spoilt.
    """

    can_show: Callable[[Briefing], bool]
    spoil: Callable[[Briefing, Random], str]


def _always(briefing: Briefing) -> bool:
    return True


def _has_keys(briefing: Briefing) -> bool:
    return any(key in briefing for key in REQUIRED_KEYS)


def _has_figures(briefing: Briefing) -> bool:
    return all(isinstance(briefing.get(name), float) for name in FIGURES)


def _has_confidence(briefing: Briefing) -> bool:
    return isinstance(briefing.get("confidence"), float)


def _has_phase(briefing: Briefing) -> bool:
    return briefing.get("phase") in PHASE_TABLE


def _break_json(briefing: Briefing, random: Random) -> str:
    """One character too few or too many, and no JSON parser takes it."""
    text = write_flat_json(briefing)
    comma = len(write_flat_json(dict([*briefing.items()][:1]))) - 1
    broken = (
        text[:-1],  # no closing brace
        text[:comma] + text[comma + 1 :],  # no comma after the first value
        text.replace(": ", " ", 1),  # no colon after the first key
        text[:-1] + ",}",  # a comma after the last value
        text.replace('"', "", 1),  # no quote before the first key
    )
    return random.choice(broken)


def _drop_key(briefing: Briefing, random: Random) -> str:
    dropped = random.choice([key for key in REQUIRED_KEYS if key in briefing])
    return write_flat_json({key: value for key, value in briefing.items() if key != dropped})


def _miscompute(briefing: Briefing, random: Random) -> str:
    """One of Φ, H and C is off by more than the score tolerates; F stays that of the right one."""
    name = random.choice(list(FIGURES))
    right = cast(float, briefing[name])
    error = random.randint(round(SMALLEST_ERROR * 100), round(LARGEST_ERROR * 100)) / 100
    # Figures lie in [0, 1]: a value outside would be wrong at a glance.
    within = [value for value in (right - error, right + error) if 0 <= value <= 1]
    wrong = round(random.choice(within), 2)
    pattern = FIGURES[name].replace("F", re.escape(f"{right:.2f}"))
    return _retell(briefing, {name: wrong}, "cic_assessment", pattern, f"{wrong:.2f}")


def _exceed_bound(briefing: Briefing, random: Random) -> str:
    right = cast(float, briefing["confidence"])
    wrong = random.randint(round(MAX_CONFIDENCE * 100) + 1, 100) / 100
    pattern = f"(?<=confidence is ){re.escape(f'{right:.2f}')}"
    changed: Briefing = {"confidence": wrong}
    return _retell(briefing, changed, "confidence_bounds", pattern, f"{wrong:.2f}")


def _surround(briefing: Briefing, random: Random) -> str:
    before, after = random.choice(BEFORE), random.choice(AFTER)
    text = write_flat_json(briefing)
    ways = (before + text, text + after, before + text + after, f"```json\n{text}\n```")
    return random.choice(ways)


def _misname_phase(briefing: Briefing, random: Random) -> str:
    others: list[Phase] = [phase for phase in PHASES if phase != briefing["phase"]]
    wrong = random.choice(others)
    told = f"The system is {wrong}: {PHASE_TABLE[wrong].description}."
    return _retell(
        briefing, {"phase": wrong}, "phase_assessment", r"^The system is \w+: [^.]*\.", told
    )


# Every way, by the name that a row records.
FAILURES: dict[str, Failure] = {
    "malformed JSON": Failure(_always, _break_json),
    "missing key": Failure(_has_keys, _drop_key),
    "wrong formula result": Failure(_has_figures, _miscompute),
    "confidence above 0.95": Failure(_has_confidence, _exceed_bound),
    "text around the JSON": Failure(_always, _surround),
    "wrong phase": Failure(_has_phase, _misname_phase),
}


def generate_preferences(
    examples: Sequence[Example], count: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield `count` rows `{"id", "prompt", "chosen", "rejected", "failure", "truth"}`.

    The rows go round `examples` in an order drawn from `seed`; each time round, a row takes the
    rarest of the ways that it can show and has not shown yet. So all ways come about equally
    often, no pair comes twice, and a longer file begins with the shorter one.

    Raises:
        DataError: a row that is no Elle row, or more pairs wanted than the rows can show.
    """
    briefings = {example.id: _read_briefing(example) for example in examples}
    if count < 1:
        raise DataError(f"count is {count}: ask for at least 1 pair.")
    left = {
        example.id: [name for name, way in FAILURES.items() if way.can_show(briefings[example.id])]
        for example in examples
    }
    most = sum(len(names) for names in left.values())
    if count > most:
        raise DataError(
            f"{len(examples)} rows can show {most} failures in all, fewer than the {count} pairs "
            "asked for. Lower --count, or bring more rows."
        )
    order = list(examples)
    Random(f"preferences:{seed}").shuffle(order)
    return _walk(order, briefings, left, count, seed)


def add_rejected(examples: Sequence[Example], seed: int) -> Iterator[Example]:
    """Every Elle example, in its order and under its id, with an answer that fails in one way."""
    failing: dict[str, str] = {}
    for row in generate_preferences(examples, len(examples), seed):
        failing[row["id"].rpartition(":")[0]] = row["rejected"][0]["content"]
    for example in examples:
        yield replace(example, rejected=Message("assistant", failing[example.id], True))


def _walk(
    order: list[Example],
    briefings: dict[str, Briefing],
    left: dict[str, list[str]],
    count: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    shown: Counter[str] = Counter()
    while shown.total() < count:
        for example in order:
            if shown.total() == count:
                return
            names = left[example.id]
            if not names:
                continue
            random = Random(f"preferences:{seed}:{example.id}:{len(names)}")
            rarest = min(shown[name] for name in names)
            name = random.choice([name for name in names if shown[name] == rarest])
            names.remove(name)
            shown[name] += 1
            yield _build_row(example, name, FAILURES[name].spoil(briefings[example.id], random))


def _build_row(example: Example, failure: str, rejected: str) -> dict[str, Any]:
    *prompt, right = example.messages
    assert example.truth is not None  # _read_briefing has looked
    return {
        "id": f"{example.id}:{failure.replace(' ', '-')}",
        "prompt": [{"role": turn.role, "content": turn.content} for turn in prompt],
        "chosen": [{"role": "assistant", "content": right.content}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "failure": failure,
        "truth": dict(example.truth),
    }


def _retell(
    briefing: Briefing, changed: Briefing, prose: str, pattern: str, replacement: str
) -> str:
    """The briefing with `changed`, and its prose, where it has that key, saying the same."""
    told = {**briefing, **changed}
    text = briefing.get(prose)
    if isinstance(text, str):
        told[prose] = re.sub(pattern, replacement, text)
    return write_flat_json(told)


def _read_briefing(example: Example) -> Briefing:
    """The right answer's keys; raises DataError where it is not as `luthier data elle` writes."""
    where = example.where or example.id
    mend = "Give rows that `luthier data elle` wrote."
    if example.truth is None or len(example.messages) < 2:
        raise DataError(f"{where}: no conversation with its `truth`. {mend}")
    text = example.messages[-1].content
    try:
        briefing = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: the answer is not JSON ({error}). {mend}") from error
    # Written otherwise, the rejected answer would differ in more than its failure.
    if not _is_flat(briefing) or write_flat_json(briefing) != text:
        raise DataError(f"{where}: the answer is no flat JSON briefing. {mend}")
    return briefing


def _is_flat(value: object) -> TypeGuard[Briefing]:
    if not isinstance(value, dict) or len(cast(dict[str, object], value)) < 2:
        return False
    items = cast(dict[str, object], value).values()
    return all(isinstance(item, (str, int, float)) for item in items)
