"""Apply the dialect's tables to a layer: rename what is old, answer what is not taken."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from luthier.errors import Problem
from luthier.recipe import dialect
from luthier.recipe.dataset import DatasetSource, InstructFormat
from luthier.recipe.kinds import asks_for_nothing
from luthier.recipe.layer import KeyPath, Layer
from luthier.recipe.schema import Recipe

SOURCE_LISTS = ("datasets", "test_datasets")

# Old keys of a dataset that name one field of a message each.
_MESSAGE_FIELDS: Mapping[str, str] = {
    "message_field_role": "role",
    "message_field_content": "content",
}


class Translation(NamedTuple):
    """A layer in today's names.

    Attributes:
        layer: what is left; only keys of the schema.
        problems: the keys and values that are not taken.
        notes: what was accepted under an old name.
        answered: today's names of keys with a problem, so that no second one is found in them.
    """

    layer: Layer
    problems: list[Problem]
    notes: list[str]
    answered: frozenset[str]


class _Tables(NamedTuple):
    known: Collection[str]
    legacy: Mapping[str, str]
    legacy_values: Mapping[str, Mapping[str, str]]
    not_yet: Mapping[str, str]
    refused: Mapping[str, dialect.Refused]
    refused_values: Mapping[str, Mapping[str, dialect.Refused]]


RECIPE_KEYS = frozenset({*Recipe.model_fields, *dialect.UNFOLDED})
_RECIPE = _Tables(
    RECIPE_KEYS,
    dialect.LEGACY,
    dialect.LEGACY_VALUES,
    dialect.NOT_YET,
    dialect.REFUSED,
    dialect.REFUSED_VALUES,
)
_DATASET = _Tables(
    frozenset(DatasetSource.model_fields),
    {**dialect.DATASET_LEGACY, **dict.fromkeys(_MESSAGE_FIELDS, "message_property_mappings")},
    dialect.DATASET_LEGACY_VALUES,
    dialect.DATASET_NOT_YET,
    dialect.DATASET_REFUSED,
    {},
)
_INSTRUCT = _Tables(frozenset(InstructFormat.model_fields), {}, {}, {}, {}, {})


def is_recipe_key(name: str) -> bool:
    """Whether the dialect knows `name`, be it to honour or to refuse it."""
    return any(
        name in table for table in (RECIPE_KEYS, dialect.LEGACY, dialect.NOT_YET, dialect.REFUSED)
    )


def unknown_key(name: str, candidates: Iterable[str]) -> tuple[str, str]:
    """What is wrong with an unknown key, and the nearest name among `candidates`."""
    plain = name.strip().lower().replace("-", "_")
    near = difflib.get_close_matches(plain, sorted(candidates), n=1, cutoff=0.7)
    if not near:
        return f"unknown key `{name}`.", "Remove it; docs/recipe-keys.md lists all keys."
    return f"unknown key `{name}`:", f"did you mean {_today(near[0])}?"


def translate_recipe(layer: Layer) -> Translation:
    """A recipe's layer in today's names; `null` values stay, since an arm may unset a key."""
    work = _Work(layer.copy())
    layer = work.layer
    if not asks_for_nothing(layer.values.get("relora_steps")) and "relora" not in layer.values:
        # Before `relora` existed, its steps alone turned it on.
        layer.values["relora"] = True
        layer.places[("relora",)] = layer.place(("relora_steps",))
        work.notes.append("`relora_steps` without `relora` is read as `relora: true` too.")
    if layer.values.get("chat_template") == "jinja" and "chat_template_jinja" in layer.values:
        # Axolotl splits a Jinja template over two keys.
        del layer.values["chat_template"]
    values = work.mapping((), layer.values, _RECIPE)
    layer.values.clear()
    layer.values.update(values)
    for key in SOURCE_LISTS:
        if isinstance(values.get(key), list):
            values[key][:] = [
                work.dataset((key, index), item) for index, item in enumerate(values[key])
            ]
    return work.done()


def translate_dataset(layer: Layer, path: KeyPath, value: dict[str, Any]) -> Translation:
    """One dataset, at `path` of `layer`, in today's names; the layer returned is its own part."""
    work = _Work(layer.copy())
    values = work.dataset(path, value)
    part = work.layer.part(path, values)
    return work.done()._replace(layer=part)


class _Work:
    """The layer under translation and what was found so far."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.answered: set[str] = set()

    def done(self) -> Translation:
        notes = list(dict.fromkeys(self.notes))
        return Translation(self.layer, self.problems, notes, frozenset(self.answered))

    def mapping(self, path: KeyPath, values: dict[str, Any], tables: _Tables) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in values.items():
            name = tables.legacy.get(key, key)
            if name != key and name in values and name not in _MESSAGE_FIELDS.values():
                what = f"`{key}` is the old name of `{name}`, which is given too."
                self._add((*path, key), what, f"Remove `{key}`.", name)
            elif name in tables.known:
                if name != key:
                    self._rename(path, key, name, noted=value is not None)
                kept[name] = self._value((*path, name), value, tables)
            else:
                self._answer((*path, key), key, value, tables)
        return kept

    def dataset(self, path: KeyPath, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        values = self.mapping(path, self._with_message_fields(path, value), _DATASET)
        if isinstance(values.get("type"), dict):
            values["type"] = self.mapping((*path, "type"), values["type"], _INSTRUCT)
        return values

    def _with_message_fields(self, path: KeyPath, value: dict[str, Any]) -> dict[str, Any]:
        """Gather `message_field_role` and `message_field_content` into today's one mapping."""
        old = [key for key in _MESSAGE_FIELDS if key in value]
        given = value.get("message_property_mappings")
        if not old or (given is not None and not isinstance(given, dict)):
            return value
        rest = {key: item for key, item in value.items() if key not in old}
        mapped: dict[str, Any] = dict(given or {})
        for key in old:
            self._rename(path, key, "message_property_mappings", f".{_MESSAGE_FIELDS[key]}")
            if value[key] is not None:
                mapped.setdefault(_MESSAGE_FIELDS[key], value[key])
        return {**rest, "message_property_mappings": mapped} if mapped else rest

    def _rename(
        self, path: KeyPath, key: str, name: str, inside: str = "", *, noted: bool = True
    ) -> None:
        place = self.layer.place((*path, key))
        self.layer.places.setdefault((*path, name), place)
        if noted:
            self.notes.append(f"`{key}` is now `{name}{inside}`.")

    def _value(self, path: KeyPath, value: Any, tables: _Tables) -> Any:
        key = str(path[-1])
        if key in dialect.OFF_VALUES and tables is _RECIPE and asks_for_nothing(value):
            return None
        if not isinstance(value, str):
            return value
        today = tables.legacy_values.get(key, {}).get(value)
        if today is not None:
            self.notes.append(f"`{key}: {value}` is now `{key}: {today}`.")
            return today
        refused = tables.refused_values.get(key, {}).get(value)
        if refused is not None:
            what = f"`{key}: {value}` is not taken: {refused.why}"
            self._add(path, what, refused.mend, key)
            return None
        return value

    def _answer(self, path: KeyPath, key: str, value: Any, tables: _Tables) -> None:
        name = tables.legacy.get(key, key)
        if name in tables.not_yet:
            if not asks_for_nothing(value):
                now = "" if name == key else f" (now `{name}`)"
                technique = tables.not_yet[name]
                what = f"`{key}`{now} is not yet available: this version has no {technique}."
                self._add(path, what, "Remove it.", name)
            return
        refused = tables.refused.get(key)
        if refused is None:
            if path[:-1] or not is_recipe_key(key):
                candidates = {*tables.known, *tables.legacy, *tables.not_yet}
                what, mend = unknown_key(key, candidates)
                self._add(path, what, mend, key)
            return
        empty = value is None or (refused.empty_passes and asks_for_nothing(value))
        if not empty and not any(value is item or value == item for item in refused.allowed):
            what = f"`{key}` is not taken: {refused.why}"
            self._add(path, what, refused.mend, key)

    def _add(self, path: KeyPath, what: str, mend: str, name: str) -> None:
        self.problems.append(self.layer.problem(path, what, mend))
        self.answered.add(name if len(path) == 1 else str(path[0]))


def _today(name: str) -> str:
    now = dialect.LEGACY.get(name)
    if now is None and name in _MESSAGE_FIELDS:
        now = "message_property_mappings"
    text = f"`{name}`" if now is None else f"`{name}`, now `{now}`"
    return f"{text}, not yet available" if (now or name) in dialect.NOT_YET else text
