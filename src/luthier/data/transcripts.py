"""Conversations written as one text: "\\n\\nHuman: …\\n\\nAssistant: …"."""

from __future__ import annotations

import re

from luthier.data.examples import Message
from luthier.data.rows import Row

# A speaker's mark stands at the beginning or after an empty line; elsewhere it is quoted text.
_MARK = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def read_transcript(text: str, row: Row, column: str) -> list[Message]:
    """The turns of a transcript; the last is the assistant's and stands by itself.

    Two turns of one speaker in a row, before the last, are one turn with an empty line between
    them: many chat templates take no others.

    Raises:
        DataError: no speaker's mark at the beginning, an empty turn, or an end that is not the
            assistant's.
    """
    before, *rest = _MARK.split(text)
    if before.strip() or not rest:
        raise row.error(
            f'`{column}` is no transcript: it must begin with "Human:" and mark each turn with '
            '"Human:" or "Assistant:" after an empty line.'
        )
    turns: list[Message] = []
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    for number, (speaker, content) in enumerate(pairs, start=1):
        role, said = _ROLES[speaker], content.strip()
        if not said:
            raise row.error(
                f"turn {number} of `{column}` ({speaker}) is empty. Fill it, or remove the row."
            )
        if turns and turns[-1].role == role and number < len(pairs):
            said = f"{turns.pop().content}\n\n{said}"
        turns.append(Message(role, said, False))
    if turns[-1].role != "assistant":
        raise row.error(
            f"`{column}` ends with a turn of the Human; it must end with the Assistant's answer. "
            "Add it, or remove the row."
        )
    return turns
