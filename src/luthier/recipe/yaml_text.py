"""YAML 1.2 scalars with line numbers, and text that reads back as the same values.

PyYAML reads YAML 1.1, where `1e-4` is text, `no` is false and `1:30` is ninety. Recipes are read
with the core schema of YAML 1.2 (section 10.3.2): `1e-4` is a number, and only `true` and `false`
are booleans.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from luthier.errors import Problem, RecipeError
from luthier.recipe.layer import KeyPath, Layer, Place, key_of

MAX_NODES = 100_000  # An alias can repeat a part many times over; no honest recipe comes near.

_RARE_BREAKS = frozenset("\r\x85\u2028\u2029")
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_CORE_SCHEMA = (
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), "~nN"),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("int", re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), "-+0123456789"),
    (
        "float",
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        "-+.0123456789",
    ),
    ("merge", re.compile(r"^(?:<<)$"), "<"),
)


class _CoreLoader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 - the name and kind that PyYAML reads


class _CoreDumper(yaml.SafeDumper):
    """Quotes whatever either version of YAML would read as something other than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    if _RARE_BREAKS.intersection(text):
        style = '"'  # Only there are they escaped; elsewhere PyYAML folds them into spaces.
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


for _name, _pattern, _first in _CORE_SCHEMA:
    _starts: list[str | None] = [*_first, *([""] if _name == "null" else [])]
    _CoreLoader.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _starts)
    if _name in ("int", "float"):
        _CoreDumper.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _starts)
_CoreDumper.add_representer(str, _represent_text)


class Parsed(NamedTuple):
    """A YAML value, the line of each part, and what is wrong with the text."""

    value: Any
    lines: dict[KeyPath, int]
    problems: list[Problem]


def read_layer(path: Path) -> tuple[Layer, list[Problem]]:
    """Read a YAML file that holds a mapping; returns it with its duplicate keys as problems.

    Raises:
        RecipeError: no such file, not UTF-8, not YAML, empty, or not a mapping.
    """
    source = str(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise RecipeError(
            source, [Problem("", f"no such file: {path}.", "Check the path.")]
        ) from error
    except OSError as error:
        what = f"cannot read {path}: {error.strerror or error}."
        raise RecipeError(source, [Problem("", what, "Name a YAML file.")]) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = Problem("", "not UTF-8 text.", "Save the file as UTF-8.", line)
        raise RecipeError(source, [problem]) from error
    parsed = parse_yaml(text, source)
    if parsed.value is None:
        problem = Problem("", "the file is empty.", "A recipe starts with `base_model: …`.")
        raise RecipeError(source, [problem, *parsed.problems])
    if not isinstance(parsed.value, dict):
        kind = "a list" if isinstance(parsed.value, list) else "a single value"
        what = f"the file holds {kind} at its top level."
        raise RecipeError(source, [Problem("", what, "Write a mapping: `key: value` lines.", 1)])
    places = {path_: Place(line) for path_, line in parsed.lines.items() if path_}
    return Layer(parsed.value, places), parsed.problems


def parse_yaml(text: str, source: str) -> Parsed:
    """Parse one YAML document; raises RecipeError where the text is not YAML."""
    reader = _NodeReader()
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
        value = None if node is None else reader.read(node, (), ())
    except yaml.YAMLError as error:
        raise RecipeError(source, [_syntax_problem(text, error)]) from error
    except RecursionError as error:
        problem = Problem("", "the file is nested too deeply.", "Flatten it.")
        raise RecipeError(source, [problem]) from error
    return Parsed(value, reader.lines, reader.problems)


def dump_yaml(value: Any) -> str:
    """Text that both `parse_yaml` and YAML 1.1 readers read back as `value`."""
    return yaml.dump(value, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=88)


class _NodeReader:
    """Turns a node tree into values; collects lines, duplicate keys and foreign tags."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._nodes = 0

    def read(self, node: yaml.Node, path: KeyPath, parents: Sequence[yaml.Node]) -> Any:
        line = _line(node)
        self.lines.setdefault(path, line)
        self._nodes += 1
        if node in parents or self._nodes > MAX_NODES:
            if self._nodes <= MAX_NODES or not self.problems:
                self._add(path, "an alias repeats a part of itself or too much.", "", line)
            return None
        inside = (*parents, node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, inside)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, i), inside) for i, item in enumerate(node.value)]
        return self._scalar(node, path, line)

    def _mapping(
        self, node: yaml.MappingNode, path: KeyPath, parents: Sequence[yaml.Node]
    ) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if key_node.tag == _MERGE:
                merged = {**self._merged(value_node, path, parents), **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._add(path, "a key is a list or a mapping.", "Write a name.", line)
                continue
            key = key_node.value
            if key in own:
                what = f"`{key}` stands here and on line {first_lines[key]} too."
                self._add((*path, key), what, "Keep one of them.", line)
                continue
            first_lines[key] = line
            for known in [p for p in self.lines if p[: len(path) + 1] == (*path, key)]:
                del self.lines[known]
            self.lines[(*path, key)] = line
            own[key] = self.read(value_node, (*path, key), parents)
        return {**merged, **own}

    def _merged(
        self, node: yaml.Node, path: KeyPath, parents: Sequence[yaml.Node]
    ) -> dict[str, Any]:
        """The keys that `<<: *name` brings in; with a list, the first mention of a key wins."""
        nodes: list[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for item in nodes:
            value = self.read(item, path, parents)
            if isinstance(value, dict):
                merged = {**value, **merged}
            else:
                self._add(
                    path, "`<<` needs a mapping.", "Name an anchor: `<<: *name`.", _line(node)
                )
        return merged

    def _scalar(self, node: yaml.Node, path: KeyPath, line: int) -> Any:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        try:
            return _scalar_value(kind, text)
        except (ValueError, KeyError):
            what = f"`{text[:40]}` cannot be read as `{node.tag.removeprefix(_TAG)}`."
            self._add(path, what, "Write plain text, a number, true or false.", line)
            return None

    def _add(self, path: KeyPath, what: str, mend: str, line: int) -> None:
        self.problems.append(Problem(key_of(path), what, mend, line))


def _scalar_value(kind: str, text: str) -> Any:
    if kind in ("str", "merge"):
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return {"true": True, "false": False}[text.lower()]
    if kind == "int":
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if kind == "float":
        bare = text.lower().lstrip("+-")
        if bare in (".inf", ".nan"):
            return math.copysign(float(bare[1:]), -1.0 if text.startswith("-") else 1.0)
        return float(text)
    raise ValueError(kind)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _syntax_problem(text: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        position: int = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1
        return Problem("", "a character that YAML does not allow.", "Remove it.", line)
    reason = getattr(error, "problem", None) or "not valid YAML"
    lines = text.split("\n")
    written = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in written:
        return Problem("", "a tab; YAML is indented by spaces.", "Use spaces.", mark.line + 1)
    return Problem("", f"not valid YAML: {reason}.", "", mark.line + 1)
