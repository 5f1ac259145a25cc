"""`--set key=value`: change a layer before it is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from luthier.errors import Problem, RecipeError
from luthier.recipe.layer import KeyPath, Layer, Place
from luthier.recipe.yaml_text import parse_yaml

# Absent keys that are made as lists; in a mapping of labels, a number is a name like any other.
LIST_KEYS = frozenset({"datasets", "test_datasets", "tasks"})


class Override(NamedTuple):
    """One `--set`.

    Attributes:
        path: its key, split at the dots; digits are list indexes.
        value: what stands after `=`, read as YAML.
        text: as written, "--set datasets.0.path=x".
    """

    path: KeyPath
    value: Any
    text: str


def parse_overrides(texts: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """Read `key=value` texts; what cannot be read becomes a problem that names `--set`."""
    overrides: list[Override] = []
    problems: list[Problem] = []
    for text in texts:
        name, equals, value = text.partition("=")
        parts = [part.strip() for part in name.replace("[", ".").replace("]", "").split(".")]
        written = f"--set {text}"
        if not equals or not all(parts):
            mend = "Write `--set key=value`, such as `--set datasets.0.path=rows.jsonl`."
            problems.append(Problem("", f"{written}: no key or no `=`.", mend))
            continue
        try:
            parsed = parse_yaml(value, written)
        except RecipeError as error:
            first = error.problems[0]
            mend = "Quote the value as YAML needs it."
            problems.append(Problem(name, f"{written}: {first.what}", mend))
            continue
        problems += [Problem(name, f"{written}: {p.what}", p.mend) for p in parsed.problems]
        path = tuple(int(part) if part.isdecimal() else part for part in parts)
        overrides.append(Override(path, parsed.value, written))
    return overrides, problems


def apply_override(
    layer: Layer, override: Override, legacy: Mapping[str, str] | None = None
) -> Problem | None:
    """Set one value in `layer`, in place; returns what is in the way, if anything.

    Parts on the way that are absent are made. A top-level key replaces the same setting under
    another name in `legacy` (old → today's).
    """
    path, value, text = override
    if len(path) == 1 and legacy is not None:
        today = legacy.get(str(path[0]), path[0])
        for other in [k for k in layer.values if k != path[0] and legacy.get(k, k) == today]:
            layer.forget((other,))
            del layer.values[other]
    target: Any = layer.values
    reached: KeyPath = ()
    for depth, part in enumerate(path):
        problem = _misstep(target, part, override)
        if problem is not None:
            return problem
        reached = (*reached, part if isinstance(target, list) else str(part))
        if depth == len(path) - 1:
            _put(target, part, value)
            break
        inside = _get(target, part)
        if inside is None:
            inside = [] if part in LIST_KEYS else {}
            _put(target, part, inside)
            layer.places[reached] = Place(None, text)
        target = inside
    layer.forget(reached)
    layer.places[reached] = Place(None, text)
    return None


def _get(target: Any, part: str | int) -> Any:
    if isinstance(target, dict):
        return target.get(str(part))
    return target[part] if int(part) < len(target) else None


def _put(target: Any, part: str | int, value: Any) -> None:
    if isinstance(target, dict):
        target[str(part)] = value
    elif part == len(target):
        target.append(value)
    else:
        target[part] = value


def _misstep(target: Any, part: str | int, override: Override) -> Problem | None:
    key = ".".join(str(item) for item in override.path)
    if isinstance(target, dict):
        return None
    if not isinstance(target, list):
        what = f"{override.text}: nothing can be set inside a single value."
        return Problem(key, what, "Set the whole key.")
    if not isinstance(part, int):
        what = f"{override.text}: `{part}` is not a list index."
        return Problem(key, what, f"Write a number from 0 to {len(target)}.")
    if part > len(target):
        what = f"{override.text}: the list has {len(target)} entries."
        return Problem(key, what, f"Write an index from 0 to {len(target)}.")
    return None
