"""What a rule is, and the two shapes that most rules have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from luthier.recipe.layer import KeyPath
from luthier.recipe.schema import Recipe


class Mistake(NamedTuple):
    """A broken rule: the key to point at, what is wrong, what to do.

    `path` points further inside the key, as into one dataset of the list.
    """

    key: str
    what: str
    mend: str
    path: KeyPath = ()


Find = Callable[[Recipe, frozenset[str]], Iterator[Mistake]]


class Rule(NamedTuple):
    """A rule, and the keys that must each be valid before it can be judged."""

    keys: tuple[str, ...]
    find: Find


def exclusive(first: str, second: str) -> Rule:
    """Not both of two keys."""

    def find(recipe: Recipe, given: frozenset[str]) -> Iterator[Mistake]:
        if getattr(recipe, first) and getattr(recipe, second):
            yield Mistake(
                second,
                f"`{first}` and `{second}` are both given.",
                "Keep one; in an arm, set the other to null.",
            )

    return Rule((first, second), find)
