"""Examples as JSON lines: what a study keeps of its data, readable by any tool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.data.examples import Example
from luthier.files import write_json_lines
from luthier.recipe.dataset import DatasetSource


def write_examples(path: Path, examples: Sequence[Example]) -> DatasetSource:
    """Write `examples` to `path`; returns the source that reads them back."""
    write_json_lines(path, (_row(example) for example in examples))
    return stored_source(path, raw_text=examples[0].text is not None)


def stored_source(path: Path, *, raw_text: bool) -> DatasetSource:
    return DatasetSource(path=str(path), type="completion" if raw_text else "chat_template")


def _row(example: Example) -> dict[str, Any]:
    row: dict[str, Any] = {"id": example.id}
    if example.text is not None:
        row["text"] = example.text
    else:
        row["messages"] = [
            # "weight" says which of an assistant's turns are trained, as OpenAI's format does.
            {"role": m.role, "content": m.content}
            | ({"weight": int(m.train)} if m.role == "assistant" else {})
            for m in example.messages
        ]
    if example.label is not None:
        row |= {"label": example.label, "labels": list(example.labels)}
    if example.truth is not None:
        row["truth"] = dict(example.truth)
    return row
