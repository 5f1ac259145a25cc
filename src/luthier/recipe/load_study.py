"""Read a study file into a `Study` and its arms, with every mistake at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import Problem, RecipeError
from luthier.recipe.arms import MAX_ARMS, NamedLayer, check_arms, name_problem, unfold
from luthier.recipe.check import check_source, shown
from luthier.recipe.check_study import check_study
from luthier.recipe.dataset import LOCATION_KEYS
from luthier.recipe.dialect import LEGACY
from luthier.recipe.layer import Layer, Place
from luthier.recipe.load import LoadedRecipe, recipe_of_layer, sorted_by_line
from luthier.recipe.overrides import Override, apply_override, parse_overrides
from luthier.recipe.scale import choose_scale
from luthier.recipe.schema import Recipe
from luthier.recipe.stages import take_after
from luthier.recipe.study import LoadedStudy, Study
from luthier.recipe.translate import (
    Translation,
    is_recipe_key,
    translate_dataset,
    translate_recipe,
    unknown_key,
)
from luthier.recipe.yaml_text import read_layer

STUDY_KEYS = frozenset(Study.model_fields)


def load_any(
    path: Path, overrides: Sequence[str] = (), scale: str | None = None
) -> LoadedRecipe | LoadedStudy:
    """Read a recipe or a study: a file with `study` or `arms` is a study. Raises RecipeError."""
    layer, problems = read_layer(path)
    if {"study", "arms"} & layer.values.keys():
        return _Reader(path, layer, problems, scale).load(overrides)
    if scale is not None:
        mistake = Problem("", f"--scale {scale}: a recipe has no scales.", "Leave it out.")
        problems = [*problems, mistake]
    return recipe_of_layer(layer, overrides, str(path), problems)


def load_study(path: Path, overrides: Sequence[str] = (), scale: str | None = None) -> LoadedStudy:
    """Read and check a study file.

    Args:
        path: a YAML file; `base`, where it is a path, is relative to this file's folder.
        overrides: `key=value` texts. A key of the study changes the study (`sample.train=100`,
            `arms.lora.lora_r=4`); a key of recipes changes `base`. A path for `data` replaces
            only the path where the study describes its data in a mapping.
        scale: one of the study's `scales`, laid over it before the overrides.

    Raises:
        RecipeError: with every mistake of the study, its base, its arms and the overrides.
    """
    layer, problems = read_layer(path)
    return _Reader(path, layer, problems, scale).load(overrides)


class _Reader:
    """One study file on its way to a `LoadedStudy`; collects problems and notes."""

    def __init__(
        self, path: Path, layer: Layer, problems: Sequence[Problem], scale: str | None
    ) -> None:
        scaled = choose_scale(layer, scale)
        self.path = path
        self.layer = scaled.layer
        self.scaled_base = scaled.base
        self.problems = [*problems, *scaled.problems]
        self.notes: list[str] = []
        self.after: dict[str, str] = {}  # arm → the arm whose result it trains on from

    def load(self, overrides: Sequence[str]) -> LoadedStudy:
        parsed, override_problems = parse_overrides(overrides)
        self.problems += override_problems
        for_base = self._apply_to_study(parsed)
        self._name_unknown_keys()
        data = self._data()
        base = self._base(for_base)
        arms = self._arms()
        grid = self._grid()
        self._own_seeds_only(base, arms, grid)
        cells = list(unfold(arms, self._small_enough(arms, grid), self.after))
        self._unique_names([cell.name for cell in cells])
        checked = check_arms(base, cells, data)
        self.problems += checked.problems
        self.notes += checked.notes
        self._say_what_arms_override(for_base, arms, grid)
        study = self._study(base, cells)
        if self.problems:
            raise RecipeError(str(self.path), sorted_by_line(list(dict.fromkeys(self.problems))))
        return LoadedStudy(study, checked.arms, tuple(dict.fromkeys(self.notes)))

    def _apply_to_study(self, overrides: Sequence[Override]) -> list[Override]:
        """Apply what concerns the study itself; returns what concerns the base recipe."""
        for_base: list[Override] = []
        for override in overrides:
            first = str(override.path[0])
            if first == "base" and len(override.path) > 1:
                for_base.append(override._replace(path=override.path[1:]))
            elif first in STUDY_KEYS or not is_recipe_key(first):
                self._apply(self.layer, override)
            else:
                for_base.append(override)
        return for_base

    def _apply(self, layer: Layer, override: Override) -> None:
        described = isinstance(layer.values.get("data"), dict)
        if override.path == ("data",) and isinstance(override.value, str) and described:
            for key in LOCATION_KEYS:
                layer.values["data"].pop(key, None)
            override = override._replace(path=("data", "path"))
        problem = apply_override(layer, override)
        self.problems += [problem] if problem else []

    def _name_unknown_keys(self) -> None:
        for key in [key for key in self.layer.values if key not in STUDY_KEYS]:
            if is_recipe_key(key):
                what = f"`{key}` is a key of recipes, not of studies."
                mend = f"Move it into `base`, or into an arm: `arms: {{name: {{{key}: …}}}}`."
            else:
                what, mend = unknown_key(key, STUDY_KEYS | Recipe.model_fields.keys())
            self.problems.append(self.layer.problem((key,), what, mend))
            del self.layer.values[key]

    def _data(self) -> dict[str, Any] | None:
        """What `data` says, in today's names; None where there is none."""
        value = self.layer.values.get("data")
        if isinstance(value, str):
            value = {"path": value}
        if not isinstance(value, dict):
            return None
        translated = translate_dataset(self.layer, ("data",), value)
        values = {k: v for k, v in translated.layer.values.items() if v is not None}
        checked = check_source(self.layer, ("data",), values)
        # Its mistakes are named once, by check_study; no arm repeats them.
        return values if checked.source is not None else {}

    def _base(self, overrides: Sequence[Override]) -> Translation:
        value = self.layer.values.get("base")
        layer = Layer()
        if isinstance(value, dict):
            layer = self.layer.part(("base",), value)
        elif isinstance(value, str):
            layer = self._base_file(self.path.parent / value)
        elif value is not None:
            what = f"`base` is {shown(value)}; it must be a recipe's path or its keys."
            self.problems.append(self.layer.problem(("base",), what))
        layer = self.scaled_base.over(layer)
        for override in overrides:
            problem = apply_override(layer, override, LEGACY)
            self.problems += [problem] if problem else []
        return self._translated(layer)

    def _base_file(self, path: Path) -> Layer:
        try:
            layer, problems = read_layer(path)
        except RecipeError as error:
            for problem in error.problems:
                line = f", line {problem.line}" if problem.line else ""
                what = f"base recipe {path}{line}: {problem.what}"
                self.problems.append(self.layer.problem(("base",), what, problem.mend))
            return Layer()
        self.problems += [
            Problem(p.key, f"{path}, line {p.line}: {p.what}", p.mend) for p in problems
        ]
        layer = layer.from_origin(str(path))
        layer.places.setdefault((), Place(None, str(path)))
        return layer

    def _arms(self) -> dict[str, Translation]:
        value = self.layer.values.get("arms")
        arms: dict[str, Translation] = {}
        if not isinstance(value, dict):
            return arms
        for name, settings in value.items():
            wrong = name_problem(name)
            if wrong is not None:
                self.problems.append(self.layer.problem(("arms", name), *wrong))
            if settings is not None and not isinstance(settings, dict):
                what = f"arm `{name}` is {shown(settings)}; it must be a mapping of recipe keys."
                self.problems.append(self.layer.problem(("arms", name), what, "Write `{}`."))
                settings = None
            settings = dict(settings or {})
            after, problems = take_after(self.layer, name, settings, list(arms))
            self.problems += problems
            if after is not None:
                self.after[name] = after
            arms[name] = self._translated(self.layer.part(("arms", name), settings))
        return arms

    def _grid(self) -> Translation:
        value = self.layer.values.get("grid")
        if not isinstance(value, dict):
            return self._translated(Layer())
        for key, values in list(value.items()):
            if not isinstance(values, list) or not values:
                what = f"`grid.{key}` is {shown(values)}; it must be a list of values."
                self.problems.append(self.layer.problem(("grid", key), what, "Write `[a, b]`."))
                value = {k: v for k, v in value.items() if k != key}
        return self._translated(self.layer.part(("grid",), value))

    def _translated(self, layer: Layer) -> Translation:
        translated = translate_recipe(layer)
        self.problems += translated.problems
        self.notes += translated.notes
        return translated

    def _own_seeds_only(
        self, base: Translation, arms: Mapping[str, Translation], grid: Translation
    ) -> None:
        for part in (*arms.values(), grid):
            if part.layer.values.get("seed") is not None:
                what = "an arm has no `seed` of its own."
                self.problems.append(part.layer.problem(("seed",), what, "Use `seeds: [1, 2]`."))
        if base.layer.values.get("seed") is not None:
            self.notes.append("the base's `seed` is replaced by the study's `seeds`.")
        if base.layer.values.get("output_dir") is not None:
            self.notes.append("the base's `output_dir` is replaced by the study's folder.")

    def _small_enough(self, arms: Mapping[str, Translation], grid: Translation) -> Translation:
        """The grid, or an empty one where it makes more arms than anybody could train."""
        count = len(arms) * math.prod(len(values) for values in grid.layer.values.values())
        if count <= MAX_ARMS:
            return grid
        what = f"the grid makes {count} arms; at most {MAX_ARMS} are taken."
        self.problems.append(self.layer.problem(("grid",), what, "Shorten its lists."))
        return self._translated(Layer())

    def _unique_names(self, names: list[str]) -> None:
        seen: dict[str, str] = {}
        for name in names:
            other = seen.setdefault(name.lower(), name)
            if other is not name:
                what = f"`{other}` and `{name}` would share a folder."
                self.problems.append(self.layer.problem(("arms",), what, "Rename one of them."))

    def _say_what_arms_override(
        self, overrides: Sequence[Override], arms: Mapping[str, Translation], grid: Translation
    ) -> None:
        for override in overrides:
            key = str(override.path[0])
            key = LEGACY.get(key, key)
            own = [name for name, arm in arms.items() if key in arm.layer.values]
            if key in grid.layer.values:
                self.notes.append(f"`{override.text}` has no effect: the grid sets `{key}`.")
            elif own:
                listed = ", ".join(f"`{name}`" for name in own)
                self.notes.append(
                    f"`{override.text}` changes the base; {listed} keep their own `{key}`."
                )

    def _study(self, base: Translation, cells: Sequence[NamedLayer]) -> Study:
        values = {key: value for key, value in self.layer.items() if value is not None}
        values["base"] = {k: v for k, v in base.layer.values.items() if v is not None}
        if isinstance(values.get("arms"), dict):
            values["arms"] = {cell.name: cell.settings() for cell in cells}
        if isinstance(values.get("grid"), dict):
            del values["grid"]
        checked = check_study(self.layer, values)
        self.problems += checked.problems
        self.notes += checked.notes
        return checked.study
