"""What differs between the arms, and where the numbers come from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from luthier.report.costs import format_bytes
from luthier.report.results import ArmResults, StudyResults

NOT_SETTINGS = ("seed", "output_dir")
"""Keys of a frozen recipe that differ between runs by design."""


@dataclass(frozen=True)
class Setting:
    """One key whose value is not the same in all arms; `values` has one text an arm."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """One line of provenance; more than one value where runs differ."""

    key: str
    values: tuple[str, ...]


def list_differing_settings(results: StudyResults) -> tuple[Setting, ...]:
    """The recipe keys whose values differ between arms, each with one value per arm.

    They come from the frozen recipes; an arm that has not started counts with the base recipe and
    its overrides, as the study file gives them.
    """
    by_arm = [_flatten(_settings_of(arm, results)) for arm in results.arms]
    keys = dict.fromkeys(key for settings in by_arm for key in settings)
    rows = [
        Setting(key, tuple(_show(settings.get(key)) for settings in by_arm))
        for key in keys
        if key not in NOT_SETTINGS
    ]
    return tuple(row for row in rows if len(set(row.values)) > 1)


def list_environment(results: StudyResults) -> dict[str, tuple[Fact, ...]]:
    """Provenance of all runs by its top-level group; plain values stand under ""."""
    values: dict[str, list[str]] = {}
    for run in (results.base, *results.runs):
        for key, value in _flatten(run.provenance).items():
            shown = values.setdefault(key, [])
            text = format_bytes(value) if key.endswith("_bytes") else _show(value)
            if value is not None and text not in shown:
                shown.append(text)
    groups: dict[str, list[Fact]] = {}
    for key, shown in values.items():
        group, _, rest = key.partition(".")
        if shown:
            fact = Fact((rest or group).removesuffix("_bytes"), tuple(shown))
            groups.setdefault(group if rest else "", []).append(fact)
    return {group: tuple(facts) for group, facts in groups.items()}


def _settings_of(arm: ArmResults, results: StudyResults) -> Mapping[str, Any]:
    for run in arm.runs:
        if run.settings:
            return run.settings
    return {**results.base_settings, **arm.settings}


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            flat.update(_flatten(cast("dict[str, Any]", item), f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def _show(value: Any) -> str:
    """A value as YAML would write it; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and _is_plain(cast("list[Any]", value)):
        return ", ".join(_show(item) for item in cast("list[Any]", value))
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_plain(items: Iterable[Any]) -> bool:
    return not any(isinstance(item, dict | list) for item in items)
