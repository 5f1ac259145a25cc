"""YAML 1.2 scalars, and text that reads back as the same values."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.recipe.yaml_text import dump_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-1.5E+3", -1500.0),
        (".5", 0.5),
        ("2.", 2.0),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("+3", 3),
        ("-.inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("'1e-4'", "1e-4"),
        ("!!str 5", "5"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_scalars_are_read_by_the_core_schema(text, value):
    parsed = parse_yaml(text, "test").value
    assert parsed == value
    assert type(parsed) is type(value)


def test_keys_are_always_text_and_know_their_lines():
    parsed = parse_yaml("a:\n  0: x\n  yes: [p,\n    q]\n", "test")
    assert parsed.value == {"a": {"0": "x", "yes": ["p", "q"]}}
    assert parsed.lines[("a", "0")] == 2
    assert parsed.lines[("a", "yes", 1)] == 4


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=12)
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=6), st.lists(SCALARS, max_size=3), max_size=4))
def test_what_is_dumped_reads_back_the_same(values):
    assert parse_yaml(dump_yaml(values), "test").value == values


@pytest.mark.parametrize("text", ["no", "1e-4", "010", "2024-01-01", "a\n b\n", "1:30", "~", "<<"])
def test_a_reader_of_yaml_1_1_gets_the_same_text(text):
    assert yaml.safe_load(dump_yaml({"key": text})) == {"key": text}
