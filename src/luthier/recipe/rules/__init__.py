"""What must hold between keys; each rule names its keys, what is wrong and the mend.

A setting that would change nothing is a mistake too: silence about it is how a study ends up
comparing an arm with itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from luthier.recipe.rules.adapter import ADAPTER_KEYS, ADAPTER_RULES
from luthier.recipe.rules.general import GENERAL_RULES
from luthier.recipe.rules.optimizer import OPTIMIZER_RULES
from luthier.recipe.rules.preference import PREFERENCE_RULES
from luthier.recipe.rules.relora import RELORA_RULES
from luthier.recipe.rules.rule import Mistake, Rule
from luthier.recipe.rules.sources import find_source_mistakes
from luthier.recipe.schema import Recipe

__all__ = ["ADAPTER_KEYS", "RULES", "find_mistakes", "find_source_mistakes"]

RULES: tuple[Rule, ...] = (
    *ADAPTER_RULES,
    *RELORA_RULES,
    *OPTIMIZER_RULES,
    *PREFERENCE_RULES,
    *GENERAL_RULES,
)


def find_mistakes(
    recipe: Recipe, given: frozenset[str], invalid: frozenset[str]
) -> Iterator[Mistake]:
    """Every broken rule between the recipe's keys.

    Args:
        recipe: the recipe, with stand-ins for what is invalid.
        given: keys that were written.
        invalid: keys with a mistake of their own; rules about them are not judged, and they are
            never pointed at a second time.
    """
    for rule in RULES:
        if not invalid.intersection(rule.keys):
            yield from (found for found in rule.find(recipe, given) if found.key not in invalid)
