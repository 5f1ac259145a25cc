"""Unfold a study's arms and grid into one whole, checked recipe each."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from luthier.errors import Problem
from luthier.recipe.check import check_recipe
from luthier.recipe.kinds import MAX_NAME_LENGTH, NAME_MEND, name_mistake
from luthier.recipe.layer import Layer
from luthier.recipe.rules import ADAPTER_KEYS
from luthier.recipe.stages import AFTER
from luthier.recipe.study import BASE_ARM, Arm
from luthier.recipe.translate import Translation

# Folders and files of a study's directory, which an arm's folder would hide.
RESERVED_NAMES = frozenset(
    {
        BASE_ARM,
        "data",
        "plan.json",
        "report.html",
        "results.csv",
        "settled.json",
        "study.yaml",
    }
)
MAX_ARMS = 256


class NamedLayer(NamedTuple):
    """One cell of arms × grid.

    Attributes:
        name: the arm's, and its folder's.
        layer: what it lays over the base.
        answered: keys that already have a problem.
        after: the cell whose result it trains on from, if any.
    """

    name: str
    layer: Layer
    answered: frozenset[str]
    after: str | None = None

    def settings(self) -> dict[str, Any]:
        """What a study file says of this arm."""
        return ({AFTER: self.after} if self.after else {}) | self.layer.values


class CheckedArms(NamedTuple):
    """The arms, or all that is wrong with them, each mistake once."""

    arms: tuple[Arm, ...]
    problems: list[Problem]
    notes: list[str]


def unfold(
    arms: Mapping[str, Translation], grid: Translation, after: Mapping[str, str] = {}
) -> Iterator[NamedLayer]:
    """Every arm with every combination of the grid's values.

    An arm that comes after another comes after the cell with the same values. A cell is named
    `arm-key=value-key=value`, in the order of the grid; whatever a file system could take amiss
    becomes `_`, and the values of a list are joined by `+`.
    """
    keys = list(grid.layer.values)
    for arm, own in arms.items():
        for values in itertools.product(*(grid.layer.values[key] for key in keys)):
            cell = Layer(
                dict(zip(keys, values, strict=True)),
                {(key,): grid.layer.place((key,)) for key in keys},
            )
            name = _name_cell(arm, cell.values)
            before = _name_cell(after[arm], cell.values) if arm in after else None
            yield NamedLayer(name, cell.over(own.layer), own.answered | grid.answered, before)


def _name_cell(arm: str, values: Mapping[str, Any]) -> str:
    parts = [f"{key}={_value_name(value)}" for key, value in values.items()]
    return _shortened("-".join([arm, *parts]))


def name_problem(name: str) -> tuple[str, str] | None:
    """What is wrong with an arm's name and the mend, or None."""
    if name.lower() in RESERVED_NAMES:
        return f"`{name}` is taken as a name.", "`base` is the untouched model; rename the arm."
    mistake = name_mistake(name)
    return None if mistake is None else (mistake, NAME_MEND)


def check_arms(
    base: Translation, cells: list[NamedLayer], study_data: Mapping[str, Any] | None
) -> CheckedArms:
    """Lay every cell over the base and check it whole.

    A mistake that all arms share is reported once; one of some arms names them.
    """
    arms: list[Arm] = []
    found: dict[Problem, list[str]] = {}
    noted: dict[str, list[str]] = {}
    for cell in cells:
        merged, left_out = _merge(base.layer, cell)
        checked = check_recipe(merged, base.answered | cell.answered, study_data=study_data)
        for problem in checked.problems:
            found.setdefault(problem, []).append(cell.name)
        for note in [*checked.notes, *left_out]:
            noted.setdefault(note, []).append(cell.name)
        if checked.recipe is not None:
            arms.append(Arm(cell.name, checked.recipe, cell.after))
    problems = [_of_arms(problem, names, len(cells)) for problem, names in found.items()]
    notes = [
        note if len(names) == len(cells) else f"{_listed(names)}: {note}"
        for note, names in noted.items()
    ]
    return CheckedArms(tuple(arms), problems, notes + _equal_arms(arms))


def _merge(base: Layer, cell: NamedLayer) -> tuple[Layer, list[str]]:
    """The cell over the base; an arm without an adapter leaves the base's adapter keys out."""
    merged = cell.layer.over(base)
    unset = "adapter" in cell.layer.values and cell.layer.values["adapter"] is None
    if not unset or base.values.get("adapter") is None:
        return merged, []
    dropped = [
        key
        for key in ADAPTER_KEYS
        if key not in cell.layer.values and merged.values.get(key) is not None
    ]
    for key in dropped:
        del merged.values[key]
    if not dropped:
        return merged, []
    listed = ", ".join(f"`{key}`" for key in dropped)
    return merged, [f"without an adapter the base's {listed} are left out."]


def _of_arms(problem: Problem, names: list[str], count: int) -> Problem:
    if len(names) == count:
        return problem
    return Problem(problem.key, f"{_listed(names)}: {problem.what}", problem.mend, problem.line)


def _listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names[:3]]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"arm{'s' if len(names) > 1 else ''} {', '.join(quoted)}{more}"


def _equal_arms(arms: list[Arm]) -> list[str]:
    return [
        f"arms `{first.name}` and `{second.name}` have the same settings."
        for first, second in itertools.combinations(arms, 2)
        if (first.recipe, first.after) == (second.recipe, second.after)
    ]


def _value_name(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "+".join(_value_name(item) for item in value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return hashlib.sha256(repr(value).encode()).hexdigest()[:8]
    text = f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text) or "_"


def _shortened(name: str) -> str:
    if len(name) <= MAX_NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME_LENGTH - 9]}-{digest}"
