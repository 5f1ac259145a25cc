"""What a row of data becomes: a conversation, a raw text, a labelled item or a pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: "system", "user", "assistant" or "tool".
        content: the text of the turn, without any template's marks.
        train: whether the loss covers this turn, its stop token included.
    """

    role: str
    content: str
    train: bool


@dataclass(frozen=True)
class Example:
    """One row, ready to be tokenised.

    Attributes:
        id: unique within its data; the row's own `id`, else the row's 1-based number.
        messages: the conversation; empty for raw text.
        rejected: of a preference pair, the answer to prefer the last of `messages` to, else None.
        text: raw text to continue, all of it supervised; None for a conversation.
        label: the right label word of a classification row, else None.
        labels: every label word that the task knows, in order.
        truth: what an evaluation needs to know beside the row, else None.
        where: "file:line", for messages about this example.
    """

    id: str
    messages: tuple[Message, ...]
    rejected: Message | None = None
    text: str | None = None
    label: str | None = None
    labels: tuple[str, ...] = ()
    truth: Mapping[str, Any] | None = None
    where: str = ""
