"""One dataset of a recipe: where its rows lie and how a row becomes a conversation."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from luthier.recipe.kinds import (
    Count,
    Expects,
    Flag,
    Names,
    Seed,
    Text,
    TextMapping,
    refusal,
)

FileKind = Literal["json", "jsonl", "csv", "tsv", "text", "parquet"]

RowFormat = Literal[
    "chat_template",
    "messages",
    "sharegpt",
    "prompt_completion",
    "alpaca",
    "completion",
    "classification",
    "preference",
    "hh_rlhf",
    "ranking",
]

# The formats of a preference pair: what `rl` trains on, and nothing else does.
PREFERENCE_FORMATS: frozenset[RowFormat] = frozenset({"preference", "hh_rlhf", "ranking"})

SUFFIXES: Mapping[str, FileKind] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".parquet": "parquet",
}


def kind_of_file(name: str) -> FileKind | None:
    """What the suffix says, before a last `.gz`; None where it says nothing."""
    place = PurePath(name.lower())
    return SUFFIXES.get((place.with_suffix("") if place.suffix == ".gz" else place).suffix)


# The keys of a dataset that say where its rows come from; all others say how a row is read.
LOCATION_KEYS = frozenset(
    {
        "path",
        "name",
        "split",
        "data_files",
        "ds_type",
        "revision",
        "generate",
        "level",
        "style",
        "count",
        "seed",
        "hide_values",
    }
)


def placeholders(template: str) -> tuple[str, ...]:
    """The names in braces of a template; raises ValueError where a brace is not closed."""
    return tuple(name for _, name, _, _ in string.Formatter().parse(template) if name is not None)


def _check_chat_template(value: str) -> str:
    named = ("tokenizer_default", "chatml")
    if value in named or "{{" in value or "{%" in value:
        return value
    raise refusal(
        f"chat template `{value[:40]}` is not one that is built in.",
        "Write `tokenizer_default` (the model's own), `chatml`, or a Jinja template.",
    )


def _check_braces(value: str) -> str:
    try:
        names = placeholders(value)
    except ValueError as error:
        raise refusal(
            f"the template cannot be read: {error}.",
            "Write a column as {name}; write a brace that stays as {{ or }}.",
        ) from error
    if "" in names:
        raise refusal("the template has empty braces.", "Name the column: {name}.")
    return value


def _listed_choice(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


ChatTemplate = Annotated[
    Text,
    AfterValidator(_check_chat_template),
    Expects("`tokenizer_default`, `chatml` or a Jinja template"),
]
Template = Annotated[
    Text, AfterValidator(_check_braces), Expects("text with {column} placeholders")
]
ColumnName = str | int
Column = Annotated[
    ColumnName | tuple[ColumnName, ...],
    BeforeValidator(_listed_choice),
]
Columns = Annotated[
    Mapping[str, Column],
    Field(min_length=1),
    Expects("a mapping of names to a column header, a 0-based index, or a list of those"),
]
RoleNames = Annotated[
    Mapping[str, Names], Expects("a mapping of a role to the list of names it has in the data")
]


class InstructFormat(BaseModel):
    """A custom instruct format: which fields a row has and how the prompt is put together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system_prompt: str = Field(default="", description="System message for rows that bring none.")
    field_system: Text = Field(default="system", description="Field with the system message.")
    field_instruction: Text = Field(
        default="instruction", description="Field with the instruction."
    )
    field_input: Text = Field(default="input", description="Field with the optional input.")
    field_output: Text = Field(default="output", description="Field with the answer.")
    format: Template = Field(
        default="{instruction} {input}", description="Prompt of a row that has an input."
    )
    no_input_format: Template = Field(
        default="{instruction}", description="Prompt of a row that has no input."
    )


class DatasetSource(BaseModel):
    """One dataset: a file, a folder, a hub id, or generated rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Text | None = Field(
        default=None,
        description="File, folder or hub id. A relative path starts at the current directory. "
        "In a study, a dataset without `path` uses the study's `data`.",
    )
    name: Text | None = Field(default=None, description="Configuration of a hub dataset.")
    split: Text = Field(default="train", description="Split of a hub dataset.")
    data_files: Names | None = Field(
        default=None, description="Files inside `path` to read; all of them when absent."
    )
    ds_type: FileKind | None = Field(
        default=None, description="Kind of file; told by the suffix when absent."
    )
    revision: Text | None = Field(
        default=None, description="Branch, tag or commit of a hub dataset."
    )
    type: RowFormat | InstructFormat = Field(
        default="chat_template",
        description="How a row is read: a named format, or a mapping with the fields of a custom "
        "instruct format. `messages` and `sharegpt` are read like `chat_template`; `preference`, "
        "`hh_rlhf` and `ranking` are pairs for `rl`.",
    )
    conversation: Annotated[Literal["chatml", ""], Expects("`chatml`")] | None = Field(
        default=None, description="Legacy conversation name; the chat template decides."
    )
    chat_template: ChatTemplate | None = Field(
        default=None, description="Chat template for this dataset; the recipe's when absent."
    )
    field_messages: Text | None = Field(
        default=None,
        description="Field that holds the list of messages; `messages` or `conversations` "
        "when absent.",
    )
    field_prompt: Text | None = Field(
        default=None,
        description="Column of the prompt of a `preference` row: a text or a list of messages; "
        "`prompt` when absent, or the usual other names.",
    )
    field_chosen: Text | None = Field(
        default=None, description="Column of the preferred answer of a pair; `chosen` when absent."
    )
    field_rejected: Text | None = Field(
        default=None, description="Column of the other answer of a pair; `rejected` when absent."
    )
    message_property_mappings: TextMapping | None = Field(
        default=None, description="Which field of a message is its `role` and which its `content`."
    )
    roles: RoleNames | None = Field(
        default=None,
        description="Role → the names that the data uses for it, such as "
        "`assistant: [gpt, model]`.",
    )
    roles_to_train: Names = Field(
        default=("assistant",), description="Roles whose turns carry the loss."
    )
    train_on_eos: Literal["turn", "all", "last", "none"] = Field(
        default="turn",
        description="Which stop tokens carry the loss: of trained turns, of all turns, of the last "
        "turn, or none.",
    )
    columns: Columns | None = Field(
        default=None,
        description="Name → column header, 0-based index, or a list of those joined with a "
        "newline. An index means that the file has no header line.",
    )
    label_words: TextMapping | None = Field(
        default=None, description="Raw label → the word that the model writes for it."
    )
    prompt: Template | None = Field(
        default=None, description="Prompt of a row, with {column} names in braces."
    )
    generate: Literal["elle"] | None = Field(
        default=None, description="Rows from a built-in generator, instead of `path`."
    )
    level: Literal["basic", "cic"] = Field(
        default="basic", description="Level of the generated rows."
    )
    style: Literal["compact", "full"] = Field(
        default="compact", description="Length of the generated answers."
    )
    count: Count = Field(default=1000, description="Number of generated rows.")
    seed: Seed = Field(default=0, description="Seed of the generator.")
    hide_values: Flag = Field(
        default=False,
        description="Leave the values out of the generated prompts, so that the model must "
        "compute them.",
    )

    @property
    def holds_pairs(self) -> bool:
        """Whether a row is a prompt with a preferred and a rejected answer."""
        return self.type in PREFERENCE_FORMATS

    @property
    def file_kind(self) -> FileKind | None:
        """`ds_type`, or what the suffix of the (first) file says; None for a folder or hub id."""
        if self.ds_type is not None:
            return self.ds_type
        name = self.data_files[0] if self.data_files else self.path
        return kind_of_file(name) if name else None


def resolve_source(source: DatasetSource, data: DatasetSource | None) -> DatasetSource:
    """A dataset of an arm, completed from the study's `data`.

    A source with a path or a generator stands for itself. One without takes the location from
    `data`, and how rows are read from `data` too, wherever it does not say so itself.
    """
    if data is None or source.path is not None or source.generate is not None:
        return source
    own = {key: getattr(source, key) for key in source.model_fields_set - LOCATION_KEYS}
    given = {key: getattr(data, key) for key in data.model_fields_set}
    return DatasetSource.model_validate({**given, **own})
