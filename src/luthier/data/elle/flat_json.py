"""One flat JSON object with every number at two decimals."""

from __future__ import annotations

import json
from collections.abc import Mapping

FlatValue = str | int | float


def write_flat_json(values: Mapping[str, FlatValue]) -> str:
    """Render `values` in order; floats as 0.60 and not 0.6, so that digits line up for a model."""
    return "{" + ", ".join(f"{json.dumps(k)}: {_write(v)}" for k, v in values.items()) + "}"


def _write(value: FlatValue) -> str:
    if isinstance(value, float):
        return f"{value + 0.0:.2f}"
    return json.dumps(value, ensure_ascii=False)
