"""All examples of a dataset: read, formatted, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from luthier.data.columns import has_header, rename_columns
from luthier.data.elle import elle_example, generate_elle
from luthier.data.elle.preferences import add_rejected
from luthier.data.examples import Example
from luthier.data.formats import reader_of
from luthier.data.rows import OnBadRow, refuse
from luthier.data.sources import read_rows
from luthier.errors import DataError
from luthier.recipe.dataset import DatasetSource

REASONS_KEPT = 5


@dataclass(frozen=True)
class LoadedExamples:
    """The examples of a dataset, and what was left out.

    Attributes:
        examples: in the order of the file; ids are unique.
        skipped: rows left out with `skip_bad_rows`.
        reasons: the errors of the first few of those.
        notes: what a user should know of the data, one sentence each.
    """

    examples: list[Example]
    skipped: int = 0
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def list_remarks(self, source: DatasetSource) -> list[str]:
        """The notes, and what was skipped of `source`, as a user should read them."""
        remarks = list(self.notes)
        if self.skipped:
            remarks.append(
                f"{source.path}: {self.skipped} bad rows skipped; the first: {self.reasons[0]}"
            )
        return remarks


def load_examples(
    source: DatasetSource, *, skip_bad_rows: bool = False, limit: int | None = None
) -> LoadedExamples:
    """Read and format the rows of `source`.

    Args:
        source: a recipe's dataset, its `path` filled in.
        skip_bad_rows: leave out and count a row that cannot be used, instead of stopping there.
        limit: read no further than this many examples.

    Raises:
        DataError: a bad row (with file and line), no such data, or no example in it.
    """
    reasons: list[str] = []
    tools: list[str] = []
    collect = (lambda error: reasons.append(str(error))) if skip_bad_rows else None
    examples: list[Example] = []
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}: ask for at least 1 example.")
    for example in _examples(source, collect, tools):
        examples.append(example)
        if len(examples) == limit:
            break
    if not examples:
        first = f" The first was {reasons[0]}" if reasons else ""
        raise DataError(f"{source.path}: no usable row, {len(reasons)} skipped.{first}")
    notes = (_tools_note(tools),) if tools else ()
    labelled = _fill_labels(_make_ids_unique(examples))
    return LoadedExamples(labelled, len(reasons), tuple(reasons[:REASONS_KEPT]), notes)


def _examples(
    source: DatasetSource, on_bad_row: OnBadRow | None, tools: list[str]
) -> Iterator[Example]:
    if source.generate is not None:
        yield from _generated(source)
        return
    if source.path is None:
        raise DataError("a dataset without `path`. Give a file, a folder or a hub id.")
    read = reader_of(source)
    for row in read_rows(
        source.path,
        source.ds_type,
        name=source.name,
        split=source.split,
        data_files=source.data_files,
        revision=source.revision,
        has_header=has_header(source.columns),
        on_bad_row=on_bad_row,
    ):
        try:
            example = read(rename_columns(row, source.columns), source)
        except DataError as error:
            refuse(error, on_bad_row)
            continue
        if row.fields.get("tools"):
            tools.append(row.where)
        yield example


def _generated(source: DatasetSource) -> Iterator[Example]:
    """Elle rows, or each of them with a rejected answer that fails in one way."""
    rows = generate_elle(source.level, source.style, source.count, source.seed, source.hide_values)
    examples = (elle_example(row, where=f"elle:{i}") for i, row in enumerate(rows, start=1))
    return add_rejected(list(examples), source.seed) if source.holds_pairs else examples


def _tools_note(tools: list[str]) -> str:
    rows = "row brings" if len(tools) == 1 else "rows bring"
    return (
        f"{len(tools)} {rows} `tools` (the first at {tools[0]}); tool definitions are not put "
        "into the prompt."
    )


def _make_ids_unique(examples: list[Example]) -> list[Example]:
    """Add #2, #3 … to an id that occurs again, so that scores can be paired by id."""
    taken = {example.id for example in examples}
    if len(taken) == len(examples):
        return examples
    times: Counter[str] = Counter()
    unique: list[Example] = []
    for example in examples:
        times[example.id] += 1
        if times[example.id] == 1:
            unique.append(example)
            continue
        while (renamed := f"{example.id}#{times[example.id]}") in taken:
            times[example.id] += 1
        taken.add(renamed)
        unique.append(replace(example, id=renamed))
    return unique


def _fill_labels(examples: list[Example]) -> list[Example]:
    """Without words in the recipe, the labels are those that the data has, sorted."""
    if all(example.label is None or example.labels for example in examples):
        return examples
    labels = tuple(sorted({example.label for example in examples if example.label is not None}))
    return [replace(example, labels=labels) for example in examples]
