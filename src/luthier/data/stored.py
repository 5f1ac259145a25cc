"""Examples as JSON lines: what a study keeps of its data, readable by any tool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.data.examples import Example, Message
from luthier.errors import DataError
from luthier.files import read_json_lines, write_json_lines
from luthier.recipe.dataset import DatasetSource, RowFormat

# What concerns the tokens and not the rows: it cannot be stored with them.
TOKEN_KEYS = ("chat_template", "train_on_eos", "roles_to_train")


def write_examples(path: Path, examples: Sequence[Example], *, afresh: bool = True) -> None:
    """Write `examples` to `path`.

    Args:
        afresh: write over what is there; else it must hold the same examples.

    Raises:
        DataError: the file holds other examples.
    """
    rows = [describe_example(example) for example in examples]
    if afresh or not path.exists():
        write_json_lines(path, rows)
    elif list(read_json_lines(path)) != rows:
        raise DataError(
            f"the data have changed since the study began: {path} holds other rows. Restore the "
            "data, or choose another --output."
        )


def stored_source(path: Path, original: DatasetSource) -> DatasetSource:
    """The source that reads back what was written to `path` of the rows of `original`."""
    kept = {key: getattr(original, key) for key in TOKEN_KEYS if key in original.model_fields_set}
    kind: RowFormat = "completion" if original.type == "completion" else "chat_template"
    if original.holds_pairs:
        kind = "preference"
    return DatasetSource(path=str(path), type=kind, **kept)


def describe_example(example: Example) -> dict[str, Any]:
    """An example as a row that `stored_source` reads back."""
    row: dict[str, Any] = {"id": example.id}
    if example.text is not None:
        row["text"] = example.text
    elif example.rejected is not None:
        *prompt, chosen = example.messages
        row["prompt"] = [_as_turn(message) for message in prompt]
        row |= {"chosen": [_as_turn(chosen)], "rejected": [_as_turn(example.rejected)]}
    else:
        row["messages"] = [
            # "weight" says which turns are trained, as OpenAI's format does.
            _as_turn(m) | ({"weight": int(m.train)} if m.train or m.role == "assistant" else {})
            for m in example.messages
        ]
    if example.label is not None:
        row |= {"label": example.label, "labels": list(example.labels)}
    if example.truth is not None:
        row["truth"] = dict(example.truth)
    return row


def _as_turn(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content}
