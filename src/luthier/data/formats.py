"""The formats of a row: one function each, from a row to an Example.

A format takes the row (its columns already under the recipe's names) and the recipe's dataset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from luthier.data.columns import fill_template
from luthier.data.conversations import read_messages
from luthier.data.examples import Example, Message
from luthier.data.pair_formats import PAIR_FORMATS
from luthier.data.row_turns import (
    make_turn,
    message_reading,
    name_row,
    read_history,
    read_truth,
    system_turn,
)
from luthier.data.rows import Row
from luthier.recipe.dataset import DatasetSource, InstructFormat

RowReader = Callable[[Row, DatasetSource], Example]


def read_chat(row: Row, source: DatasetSource) -> Example:
    """A list of messages: OpenAI's {"role", "content"} or ShareGPT's {"from", "value"}.

    The list stands in `field_messages`, else in `messages` or `conversations`. A `system` column
    beside it becomes the system message where the list has none.
    """
    column = source.field_messages or ("messages" if "messages" in row.fields else "conversations")
    if source.field_messages is None and column not in row.fields:
        column = "messages"
    messages = read_messages(row.value(column), row, column, message_reading(source))
    if messages and messages[0].role != "system":
        messages = [*system_turn(row.optional_text("system")), *messages]
    return _conversation(row, source, messages)


def read_prompt_completion(row: Row, source: DatasetSource) -> Example:
    """Columns `prompt` and `completion`: two texts, or two lists of messages.

    Texts become one user turn and one assistant turn. With a `prompt` template in the recipe the
    user turn is the template filled from the row.
    """
    prompt = row.fields.get("prompt")
    if source.prompt is None and isinstance(prompt, list):
        given = read_messages(prompt, row, "prompt", message_reading(source))
        asked = [Message(message.role, message.content, False) for message in given]
    else:
        text = fill_template(source.prompt, row) if source.prompt else row.text("prompt")
        asked = [*system_turn(row.optional_text("system")), Message("user", text, False)]
    completion = row.value("completion")
    answered = (
        read_messages(completion, row, "completion", message_reading(source))
        if isinstance(completion, list)
        else [make_turn("assistant", row.text("completion"), source)]
    )
    return _conversation(row, source, [*asked, *answered])


def read_alpaca(row: Row, source: DatasetSource) -> Example:
    """Columns `instruction`, `output` and, where there, `input`, `system` and `history`.

    The user turn is the instruction, a newline and the input; `history` is a list of earlier
    [user, assistant] pairs, trained on like the output.
    """
    instruction, extra = row.text("instruction"), row.optional_text("input")
    asked = f"{instruction}\n{extra}" if extra.strip() else instruction
    messages = [
        *system_turn(row.optional_text("system")),
        *read_history(row, source),
        make_turn("user", asked, source),
        make_turn("assistant", row.text("output"), source),
    ]
    return _conversation(row, source, messages)


def read_completion(row: Row, source: DatasetSource) -> Example:
    """Column `text`: raw text, all of it supervised, without a chat template."""
    return Example(name_row(row), (), text=row.text("text"), truth=read_truth(row), where=row.where)


def read_classification(row: Row, source: DatasetSource) -> Example:
    """Columns `label` and those of the `prompt` template ("{text}" without one).

    The assistant writes the label's word: `label_words[label]`, or the label itself where the
    recipe gives no words.
    """
    label = _label(row)
    words = source.label_words
    if words is not None and label not in words:
        known = ", ".join(f"`{name}`" for name in words)
        raise row.error(f"label `{label}` has no word; there are words for {known}.")
    word = words[label] if words is not None else label
    template = source.prompt or "{text}"
    asked = fill_template(template, row)
    if not asked.strip():
        raise row.error(f"the prompt `{template}` comes out empty. Fill its columns.")
    messages = [*system_turn(row.optional_text("system")), Message("user", asked, False)]
    example = _conversation(row, source, [*messages, make_turn("assistant", word, source)])
    labels = tuple(dict.fromkeys(words.values())) if words is not None else ()
    return replace(example, label=word, labels=labels)


def read_instruct(row: Row, source: DatasetSource) -> Example:
    """The custom instruct format of the recipe: its fields, its two prompt templates."""
    fields = cast(InstructFormat, source.type)
    extra = row.optional_text(fields.field_input)
    system = row.optional_text(fields.field_system) or fields.system_prompt
    names = {"instruction": row.text(fields.field_instruction), "input": extra, "system": system}
    template = fields.format if extra.strip() else fields.no_input_format
    asked = fill_template(template, Row(row.where, {**row.fields, **names}))
    answer = row.text(fields.field_output)
    messages = [
        *system_turn(system),
        make_turn("user", asked, source),
        make_turn("assistant", answer, source),
    ]
    return _conversation(row, source, messages)


# Every format that a recipe's `type` can name.
FORMATS: dict[str, RowReader] = {
    "chat_template": read_chat,
    "messages": read_chat,
    "sharegpt": read_chat,
    "prompt_completion": read_prompt_completion,
    "alpaca": read_alpaca,
    "completion": read_completion,
    "classification": read_classification,
    **PAIR_FORMATS,
}


def reader_of(source: DatasetSource) -> RowReader:
    """The function that reads a row of `source`."""
    return read_instruct if isinstance(source.type, InstructFormat) else FORMATS[source.type]


def _conversation(row: Row, source: DatasetSource, messages: list[Message]) -> Example:
    if not any(message.train for message in messages):
        roles = " or ".join(source.roles_to_train)
        raise row.error(f"no turn to train on: the conversation needs a turn of {roles}.")
    example = Example(name_row(row), tuple(messages), truth=read_truth(row), where=row.where)
    return _with_label(example, row)


def _with_label(example: Example, row: Row) -> Example:
    """Keep `label` and `labels` beside a conversation: a classification that was stored as one."""
    label, labels = row.fields.get("label"), row.fields.get("labels")
    if not isinstance(label, str) or not isinstance(labels, list):
        return example
    return replace(example, label=label, labels=tuple(str(word) for word in labels))


def _label(row: Row) -> str:
    value = row.value("label")
    # Raw labels are matched as text, and YAML's `true` arrives in a recipe as "true".
    if isinstance(value, bool):
        return str(value).lower()
    return row.text("label").strip()
