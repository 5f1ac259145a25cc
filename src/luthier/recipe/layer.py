"""Values together with where each was written, so that every mistake can name its line."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from luthier.errors import Problem

KeyPath = tuple[str | int, ...]


class Place(NamedTuple):
    """Where a value was written.

    Attributes:
        line: 1-based line, or None for a value that came from elsewhere.
        origin: "" for the file that is read, else another file's name or "--set key=value".
    """

    line: int | None = None
    origin: str = ""


NOWHERE = Place()


@dataclass(frozen=True)
class Layer:
    """A mapping as it was written, and the place of each of its parts.

    Attributes:
        values: plain dicts, lists and scalars.
        places: path inside `values` → place; a part without an entry lies where its parent does.
    """

    values: dict[str, Any] = field(default_factory=dict[str, Any])
    places: dict[KeyPath, Place] = field(default_factory=dict[KeyPath, Place])

    def place(self, path: KeyPath) -> Place:
        """The place of `path`, or of the nearest part around it that has one."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return NOWHERE

    def problem(self, path: KeyPath, what: str, mend: str = "") -> Problem:
        """A Problem at `path`; one outside the file that is read says where it comes from."""
        place = self.place(path)
        line = place.line
        if place.origin:
            where = place.origin if line is None else f"{place.origin}, line {line}"
            what, line = f"{where}: {what}", None
        return Problem(key_of(path), what, mend, line)

    def part(self, path: KeyPath, values: Mapping[str, Any]) -> Layer:
        """A layer of its own for the mapping `values` that stands at `path`."""
        depth = len(path)
        places = {p[depth:]: place for p, place in self.places.items() if p[:depth] == path}
        places.setdefault((), self.place(path))
        return Layer(dict(values), places)

    def copy(self) -> Layer:
        return Layer(copy.deepcopy(self.values), dict(self.places))

    def forget(self, path: KeyPath) -> None:
        """Drop the places of `path` and of all inside it."""
        for known in [p for p in self.places if p[: len(path)] == path]:
            del self.places[known]

    def over(self, base: Layer) -> Layer:
        """This layer laid over `base`: its top-level keys replace those of `base` whole."""
        merged = Layer(dict(base.values), dict(base.places))
        for key, value in self.values.items():
            merged.forget((key,))
            merged.values[key] = value
            merged.places[(key,)] = self.place((key,))
        merged.places.update({p: place for p, place in self.places.items() if p})
        return merged

    def from_origin(self, origin: str) -> Layer:
        """The same layer, marked as written in another file."""
        places = {p: place._replace(origin=origin) for p, place in self.places.items()}
        return Layer(self.values, places)

    def items(self) -> Iterator[tuple[str, Any]]:
        yield from list(self.values.items())


def key_of(path: KeyPath) -> str:
    """The path as a user writes it: `datasets[0].path`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
