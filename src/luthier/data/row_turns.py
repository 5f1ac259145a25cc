"""What the formats of a row share: its name, its truth, and turns made of its texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, cast

from luthier.data.conversations import MessageReading
from luthier.data.examples import Message
from luthier.data.rows import Row, describe
from luthier.recipe.dataset import DatasetSource


def name_row(row: Row) -> str:
    """The row's own `id`, else its file and line."""
    own = row.fields.get("id")
    if isinstance(own, (str, int)) and not isinstance(own, bool) and str(own).strip():
        return str(own)
    file, _, line = row.where.rpartition(":")
    return f"{PurePath(file).stem}:{line}"


def read_truth(row: Row) -> Mapping[str, Any] | None:
    """What an evaluation needs to know beside the row: its `truth` column."""
    truth = row.fields.get("truth")
    return cast(Mapping[str, Any], truth) if isinstance(truth, dict) else None


def message_reading(source: DatasetSource) -> MessageReading:
    """How the messages of a row of `source` are read."""
    return MessageReading(
        source.message_property_mappings or {}, source.roles or {}, source.roles_to_train
    )


def make_turn(role: str, content: str, source: DatasetSource) -> Message:
    """A turn that carries the loss where `source` trains its role."""
    return Message(role, content, role in source.roles_to_train)


def system_turn(content: str) -> list[Message]:
    """The system message, or none where there is no text."""
    return [Message("system", content, False)] if content.strip() else []


def read_history(row: Row, source: DatasetSource) -> list[Message]:
    """Earlier turns from `history`, a list of [user, assistant] pairs."""
    history = row.fields.get("history") or []
    if not isinstance(history, list):
        raise row.error(f"`history` must be a list of pairs, found {describe(history)}.")
    turns: list[Message] = []
    for number, pair in enumerate(cast(list[object], history), start=1):
        items = cast(list[object], pair) if isinstance(pair, list) else []
        texts = [item for item in items if isinstance(item, str) and item.strip()]
        if len(items) != 2 or len(texts) != 2:
            raise row.error(f"pair {number} of `history` must be two texts.")
        turns += [make_turn("user", texts[0], source), make_turn("assistant", texts[1], source)]
    return turns
