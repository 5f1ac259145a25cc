"""Rules inside one dataset."""

from __future__ import annotations

from collections.abc import Iterator

from luthier.recipe.dataset import ColumnName, DatasetSource, placeholders
from luthier.recipe.rules.rule import Mistake

_GENERATOR_KEYS = ("level", "style", "count", "seed", "hide_values")
_PAIR_KEYS = ("field_prompt", "field_chosen", "field_rejected")
_TURN_KEYS = ("roles_to_train", "train_on_eos")


def find_source_mistakes(
    source: DatasetSource, given: frozenset[str], *, path_needed: bool
) -> Iterator[Mistake]:
    """Every broken rule inside one dataset; `path_needed` is false where a study brings data."""
    if source.path is None and source.generate is None and path_needed:
        yield Mistake("", "the dataset has no `path`.", "Write `path: FILE` or a hub id.")
    if source.path is not None and source.generate is not None:
        yield Mistake("generate", "`path` and `generate` are both given.", "Keep one of them.")
    if source.generate is None:
        for key in _GENERATOR_KEYS:
            if key in given:
                mend = f"Add `generate: elle`, or remove `{key}`."
                yield Mistake(key, f"`{key}` has no effect without `generate`.", mend)
    elif source.type not in ("chat_template", "messages", "preference"):
        what = "generated rows are conversations, or preference pairs."
        yield Mistake("type", what, "Write `type: chat_template`, or `type: preference`.")
    if not source.roles_to_train:
        yield Mistake(
            "roles_to_train", "no role is trained.", "Write `roles_to_train: [assistant]`."
        )
    for name in source.message_property_mappings or {}:
        if name not in ("role", "content"):
            what = f"`{name}` is not a property of a message."
            yield Mistake("message_property_mappings", what, "Map `role` and `content` only.")
    yield from _pairs_fit(source, given)
    yield from _columns_fit(source)


def _pairs_fit(source: DatasetSource, given: frozenset[str]) -> Iterator[Mistake]:
    for key in _PAIR_KEYS:
        if key in given and not source.holds_pairs:
            what = f"`{key}` has no effect on rows that are no pairs."
            yield Mistake(key, what, f"Write `type: preference`, or remove `{key}`.")
    for key in _TURN_KEYS:
        if key in given and source.holds_pairs:
            what = f"`{key}` has no effect on preference pairs: both answers carry the loss whole."
            yield Mistake(key, what, "Remove it.")


def _columns_fit(source: DatasetSource) -> Iterator[Mistake]:
    columns = source.columns
    if columns is None:
        return
    kinds = {type(part) for part in _column_parts(source)}
    if len(kinds) > 1:
        yield Mistake(
            "columns",
            "column headers and indexes are mixed; an index means that there is no header.",
            "Use one kind.",
        )
    if kinds != {int}:
        return  # Every header of the file is a name too, so only the file can tell.
    listed = ", ".join(f"`{name}`" for name in columns)
    if any(isinstance(part, int) and part < 0 for part in _column_parts(source)):
        yield Mistake("columns", "a column index is below 0.", "Count columns from 0.")
    if source.type == "classification" and "label" not in columns:
        what = f"`columns` names no `label`, only {listed}."
        yield Mistake("columns", what, "Add `label:` with its column.")
    for name in placeholders(source.prompt or ""):
        if name not in columns and not name.isdecimal():
            yield Mistake(
                "prompt", f"`{{{name}}}` is not among the columns {listed}.", "Use one of those."
            )


def _column_parts(source: DatasetSource) -> Iterator[ColumnName]:
    for column in (source.columns or {}).values():
        if isinstance(column, tuple):
            yield from column
        else:
            yield column
