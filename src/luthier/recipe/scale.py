"""`scales` of a study: the same study at another size, by name.

A scale is laid over the study: mappings are merged, everything else is replaced. It should change
the model and the amounts (rows, steps, ranks, rates), so that the study of a 72B model can be
rehearsed with the embedded one. Its keys for `base` are laid over the base recipe, be that written
in the study or in a file of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from luthier.errors import Problem
from luthier.recipe.check import shown
from luthier.recipe.layer import KeyPath, Layer
from luthier.recipe.translate import unknown_key

SCALES = "scales"


class Scaled(NamedTuple):
    """A study's layer without `scales`, and what the chosen one lays over the base recipe."""

    layer: Layer
    base: Layer
    problems: list[Problem]


def choose_scale(layer: Layer, name: str | None) -> Scaled:
    """Lay `scales.NAME` over the study and call it `study-NAME`; without a name drop `scales`."""
    layer = layer.copy()
    scales = layer.values.pop(SCALES, None)
    if scales is not None and not _is_mapping_of_mappings(scales):
        what = f"`{SCALES}` is {shown(scales)}; it must be a mapping of names to study keys."
        mend = "Write `scales: {small: {sample: {train: 100, test: 50}}}`."
        return Scaled(layer, Layer(), [layer.problem((SCALES,), what, mend)])
    if name is None:
        return Scaled(layer, Layer(), [])
    if not scales or name not in scales:
        what, mend = f"--scale {name}: the study has no `{SCALES}`.", "Leave --scale out."
        if scales:
            _, guess = unknown_key(name, scales)
            listed = ", ".join(f"`{known}`" for known in scales)
            what = f"--scale {name}: there is no such scale."
            mend = guess if guess.startswith("did you mean") else f"Write one of {listed}."
        return Scaled(layer, Layer(), [Problem(SCALES, what, mend)])
    path: KeyPath = (SCALES, name)
    overlay = dict(scales[name])
    base = layer.part((*path, "base"), overlay.pop("base", None) or {})
    _merge(layer, (), layer.values, overlay, path)
    if isinstance(layer.values.get("study"), str) and "study" not in overlay:
        layer.values["study"] += f"-{name}"
    return Scaled(layer, base, [])


def _merge(
    layer: Layer, path: KeyPath, into: dict[str, Any], overlay: dict[str, Any], origin: KeyPath
) -> None:
    """Lay `overlay`, written at `origin`, over the mapping `into`, which stands at `path`."""
    for key, value in overlay.items():
        place, source = (*path, key), (*origin, key)
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(layer, place, into[key], value, source)
            continue
        layer.forget(place)
        into[key] = value
        depth = len(source)
        inside = {p: at for p, at in layer.places.items() if p[:depth] == source}
        layer.places.update({place + p[depth:]: at for p, at in inside.items()})
        layer.places.setdefault(place, layer.place(source))


def _is_mapping_of_mappings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, dict) for item in value.values())
