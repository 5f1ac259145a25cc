"""A seeded split into training and test examples without leakage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from random import Random
from typing import NamedTuple

from luthier.data.examples import Example
from luthier.errors import DataError


class Split(NamedTuple):
    """Two disjoint parts of the examples, each in seeded order.

    Attributes:
        train: training examples.
        test: held-out examples.
        repeated: how many examples share their prompt with another one; those stay on one side.
    """

    train: list[Example]
    test: list[Example]
    repeated: int


def split_examples(examples: Sequence[Example], train: int | None, test: int, seed: int) -> Split:
    """Split at random; examples with the same prompt never stand on both sides.

    Prompts are the same when they differ only in case and white space.

    Args:
        examples: all examples.
        train: how many to train on; None for all that are not held out.
        test: how many to hold out.
        seed: decides the order; the same seed gives the same split.

    Raises:
        DataError: too few examples, or too many of them with the same prompt.
    """
    wanted = test + (train if train is not None else 1)
    if test < 0 or (train is not None and train < 1):
        raise DataError(f"cannot split into {train} and {test}: ask for at least 1 and 0 examples.")
    if wanted > len(examples):
        raise DataError(
            f"{len(examples)} examples are too few for {wanted - test} to train on and {test} to "
            "test on. Lower the sizes, or bring more data."
        )
    random = Random(seed)
    groups = _group_by_prompt(examples)
    random.shuffle(groups)
    sides: dict[str, list[Example]] = {"test": [], "train": []}
    room = {"test": test, "train": len(examples) - test if train is None else train}
    for group in groups:
        for side, members in sides.items():
            if len(members) + len(group) <= room[side]:
                members += group
                break
    _check_filled(sides, room, exact=train is not None)
    # Grouping laid examples with one prompt side by side.
    for members in sides.values():
        random.shuffle(members)
    repeated = sum(len(group) for group in groups if len(group) > 1)
    return Split(sides["train"], sides["test"], repeated)


def prompt_key(example: Example) -> Hashable:
    """What makes two examples the same task: the turns before the first trained one."""
    if example.text is not None:
        return _fold(example.text)
    trained = [index for index, message in enumerate(example.messages) if message.train]
    first = trained[0] if trained else 0
    turns = example.messages[:first] or example.messages
    return tuple((turn.role, _fold(turn.content)) for turn in turns)


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _group_by_prompt(examples: Sequence[Example]) -> list[list[Example]]:
    groups: defaultdict[Hashable, list[Example]] = defaultdict(list)
    for example in examples:
        groups[prompt_key(example)].append(example)
    return list(groups.values())


def _check_filled(sides: dict[str, list[Example]], room: dict[str, int], exact: bool) -> None:
    for side, members in sides.items():
        enough = len(members) == room[side] if exact or side == "test" else len(members) > 0
        if not enough:
            raise DataError(
                f"the {side} part gets {len(members)} of {room[side]} examples: too many share "
                "their prompt, and those must stay on one side. Lower the sizes."
            )
