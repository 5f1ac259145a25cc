"""The smaller sisters of a model: same series, same tuning, fewer weights."""

from __future__ import annotations

import re

from luthier.plan.model.known_models import KNOWN_MODELS, find_known, find_known_name
from luthier.plan.model.model_facts import ModelFacts

MOST_SISTERS = 3
_SIZE = re.compile(r"\d+(?:\.\d+)?[bm](?![a-z0-9])", re.IGNORECASE)


def find_smaller(facts: ModelFacts) -> tuple[ModelFacts, ...]:
    """Models of the shipped table that differ from this one in size alone, the largest first.

    `Qwen/Qwen2.5-72B-Instruct` gives `Qwen/Qwen2.5-32B-Instruct` and so on. Empty where the model
    is not in the table, or its name tells no size.
    """
    known = find_known_name(facts.name)
    size, own_size = _SIZE.search(known or ""), _SIZE.search(facts.name)
    if known is None or size is None or own_size is None:
        return ()
    sisters: list[ModelFacts] = []
    for other in KNOWN_MODELS:
        other_size = _SIZE.search(other)
        if other_size is None or other[: other_size.start()] != known[: size.start()]:
            continue
        name = facts.name[: own_size.start()] + other_size[0] + facts.name[own_size.end() :]
        sister = find_known(name)
        if sister is not None and sister.parameters < facts.parameters:
            sisters.append(sister)
    return tuple(sorted(sisters, key=lambda sister: -sister.parameters)[:MOST_SISTERS])
