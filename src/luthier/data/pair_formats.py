"""The formats of a preference pair: a prompt, the answer to prefer, and the other one.

Each is a function from a row to an Example: its messages are the prompt and the chosen answer, and
its `rejected` is the other answer to the same prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from luthier.data.conversations import read_messages
from luthier.data.examples import Example, Message
from luthier.data.row_turns import (
    message_reading,
    name_row,
    read_history,
    read_truth,
    system_turn,
)
from luthier.data.rows import Row
from luthier.data.transcripts import read_transcript
from luthier.recipe.dataset import DatasetSource

# Where a prompt stands in the data sets that are in use; a recipe's `field_prompt` comes first.
PROMPT_COLUMNS = ("prompt", "messages", "conversations", "question", "instruction", "input")
CHOSEN_COLUMNS = ("chosen", "chosen_response")
REJECTED_COLUMNS = ("rejected", "rejected_response")


class _Side(NamedTuple):
    """One of the two answers, and the turns that stand before it in its column, if any."""

    column: str
    before: list[Message]
    answer: Message


def read_preference(row: Row, source: DatasetSource) -> Example:
    """Columns `prompt`, `chosen` and `rejected`: texts, or lists of messages.

    Either answer may be a text, one message, or a whole conversation that ends with it; then the
    prompt is the conversation before it, and a `prompt` beside it must agree.
    """
    chosen, rejected = _read_sides(row, source)
    return _build_pair(row, _read_prompt(row, source, chosen), chosen, rejected)


def read_ranking(row: Row, source: DatasetSource) -> Example:
    """LLaMA-Factory's ranking: `conversations`, or `instruction` with `input` and `history`.

    `chosen` and `rejected` are one message each, or texts.
    """
    chosen, rejected = _read_sides(row, source)
    for column in (source.field_messages, "conversations", "messages"):
        if column is not None and column in row.fields:
            prompt = read_messages(row.value(column), row, column, message_reading(source))
            break
    else:
        instruction, extra = row.text("instruction"), row.optional_text("input")
        asked = f"{instruction}\n{extra}" if extra.strip() else instruction
        prompt = [*read_history(row, source), Message("user", asked, False)]
    if chosen.before:
        raise row.error(
            f"`{chosen.column}` holds {len(chosen.before) + 1} messages; a ranking's answer is "
            "one. Write `type: preference` for whole conversations."
        )
    return _build_pair(row, _with_system(prompt, row), chosen, rejected)


def read_hh_rlhf(row: Row, source: DatasetSource) -> Example:
    """Columns `chosen` and `rejected`: whole transcripts that differ in the last answer.

    A transcript is "\\n\\nHuman: …\\n\\nAssistant: …", of any number of turns.
    """
    sides: list[_Side] = []
    for named, usual in (
        (source.field_chosen, CHOSEN_COLUMNS),
        (source.field_rejected, REJECTED_COLUMNS),
    ):
        column = _find_column(row, named, usual)
        turns = read_transcript(row.text(column), row, column)
        sides.append(_Side(column, turns[:-1], turns[-1]))
    chosen, rejected = sides
    _check_same_prompt(row, chosen, rejected)
    return _build_pair(row, chosen.before, chosen, rejected)


PAIR_FORMATS: dict[str, Callable[[Row, DatasetSource], Example]] = {
    "preference": read_preference,
    "hh_rlhf": read_hh_rlhf,
    "ranking": read_ranking,
}


def _find_column(row: Row, named: str | None, usual: Sequence[str]) -> str:
    """The column that the recipe names, else the first of the usual ones that holds something."""
    if named is not None:
        row.value(named)
        return named
    filled = [column for column in usual if row.fields.get(column) not in (None, "", [])]
    return filled[0] if filled else usual[0]


def _read_sides(row: Row, source: DatasetSource) -> tuple[_Side, _Side]:
    chosen = _read_side(row, _find_column(row, source.field_chosen, CHOSEN_COLUMNS), source)
    rejected = _read_side(row, _find_column(row, source.field_rejected, REJECTED_COLUMNS), source)
    _check_same_prompt(row, chosen, rejected)
    return chosen, rejected


def _read_side(row: Row, column: str, source: DatasetSource) -> _Side:
    value = row.value(column)
    if not isinstance(value, (list, tuple, dict)):
        return _Side(column, [], Message("assistant", row.text(column), True))
    listed: object = [value] if isinstance(value, dict) else value
    messages = read_messages(listed, row, column, message_reading(source))
    if not messages or messages[-1].role != "assistant":
        role = messages[-1].role if messages else "system"
        raise row.error(
            f"`{column}` ends with a turn of the {role}; it must end with the assistant's answer. "
            "Add the answer, or remove the row."
        )
    return _Side(column, messages[:-1], messages[-1])


def _read_prompt(row: Row, source: DatasetSource, chosen: _Side) -> list[Message]:
    """The prompt's turns, from its column, from the conversation before the answer, or both."""
    named = source.field_prompt or source.field_messages
    # Beside whole conversations, other columns may well hold something else.
    usual = ("prompt",) if chosen.before else PROMPT_COLUMNS
    column = _find_column(row, named, usual)
    value = row.fields.get(column)
    if chosen.before and value in (None, "", []):
        return _with_system(chosen.before, row)
    if column == "instruction" and named is None and row.optional_text("input").strip():
        raise row.error(
            "both `instruction` and `input` are filled. Write `type: ranking` to join them, or "
            "name one as `field_prompt`."
        )
    if isinstance(value, (list, tuple)):
        given = read_messages(value, row, column, message_reading(source))
        return _with_system(_join_prompt(row, column, given, chosen), row)
    text = row.text(column)
    if not chosen.before:
        return _with_system([Message("user", text, False)], row)
    if all(turn.content.strip() != text.strip() for turn in chosen.before):
        raise _differing(row, column, chosen.column)
    return _with_system(chosen.before, row)


def _join_prompt(row: Row, column: str, given: list[Message], chosen: _Side) -> list[Message]:
    before = chosen.before
    if _same_turns(before[: len(given)], given):
        return before
    if before and before[0].role not in ("assistant", "tool"):
        raise _differing(row, column, chosen.column)
    return [*given, *before]


def _with_system(prompt: list[Message], row: Row) -> list[Message]:
    if prompt and prompt[0].role == "system":
        return prompt
    return [*system_turn(row.optional_text("system")), *prompt]


def _same_turns(first: Sequence[Message], second: Sequence[Message]) -> bool:
    return [(turn.role, turn.content) for turn in first] == [
        (turn.role, turn.content) for turn in second
    ]


def _check_same_prompt(row: Row, chosen: _Side, rejected: _Side) -> None:
    if not _same_turns(chosen.before, rejected.before):
        raise row.error(
            f"`{chosen.column}` and `{rejected.column}` answer different prompts: their turns "
            "before the last answer differ. Mend or remove the row."
        )


def _differing(row: Row, column: str, answers: str) -> Exception:
    return row.error(
        f"`{column}` is not the prompt of the conversation in `{answers}`. Name the right column "
        "as `field_prompt`, or remove the row."
    )


def _build_pair(row: Row, prompt: list[Message], chosen: _Side, rejected: _Side) -> Example:
    if not prompt or prompt[-1].role not in ("user", "tool"):
        ends = f"ends with a turn of the {prompt[-1].role}" if prompt else "is empty"
        raise row.error(f"the prompt {ends}; it must end with the user's. Mend or remove the row.")
    if chosen.answer.content.strip() == rejected.answer.content.strip():
        raise row.error(
            f"`{chosen.column}` and `{rejected.column}` are the same answer, so there is nothing "
            "to prefer. Remove the row."
        )
    asked = [replace(turn, train=False) for turn in prompt]
    return Example(
        name_row(row),
        (*asked, Message("assistant", chosen.answer.content, True)),
        rejected=Message("assistant", rejected.answer.content, True),
        truth=read_truth(row),
        where=row.where,
    )
