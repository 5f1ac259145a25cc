"""A study's data: drawn and split once, then the same for every arm, seed and task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from luthier.data.examples import Example
from luthier.data.load import LoadedExamples, load_examples
from luthier.data.split import split_examples
from luthier.data.stored import stored_source, write_examples
from luthier.errors import DataError
from luthier.files import read_json, write_json
from luthier.recipe.dataset import DatasetSource, resolve_source
from luthier.recipe.schema import Recipe
from luthier.recipe.study import Arm, LoadedStudy, Sample, Study

SPLIT = "split.json"
Say = Callable[[str], None]


class StudyRows(NamedTuple):
    """How the study's rows are kept.

    Attributes:
        folder: where they are written.
        begun: whether the study has begun, and its rows may change no more.
        skip_bad_rows: leave out and count a row that cannot be used.
        say: receives what there is to remark.
    """

    folder: Path
    begun: bool
    skip_bad_rows: bool
    say: Say


def prepare_study_data(loaded: LoadedStudy, rows: StudyRows) -> tuple[Arm, ...]:
    """Split the study's `data` into a folder; returns the arms, their datasets pointing there.

    The split is by example id and drawn from `sample.seed` alone, so all arms train on the same
    rows even where they read them in different ways.

    Raises:
        DataError: bad rows, too few for the sizes asked for, or others than the study began with.
    """
    study = loaded.study
    if study.data is None:
        return loaded.arms
    source = _with_count(study.data, study.sample)
    examples = _load(source, rows)
    split = _split_once(examples, study.sample, rows)
    test = rows.folder / "test.jsonl"
    write_examples(test, _pick(examples, split["test"]), afresh=not rows.begun)
    writer = _TrainingWriter(source, examples, split["train"], rows)
    return tuple(arm._replace(recipe=writer.point(arm.recipe)) for arm in loaded.arms)


def test_sources(study: Study, folder: Path) -> dict[str, DatasetSource]:
    """The rows that each task scores, of a study whose data are prepared already."""
    sources = {task.name: task.data for task in study.tasks if task.data is not None}
    if study.data is not None:
        stored = stored_source(folder / "test.jsonl", study.data)
        sources = {task.name: stored for task in study.tasks} | sources
    return sources


def _load(source: DatasetSource, rows: StudyRows) -> list[Example]:
    loaded: LoadedExamples = load_examples(source, skip_bad_rows=rows.skip_bad_rows)
    for remark in loaded.list_remarks(source):
        rows.say(f"note: {remark}")
    return loaded.examples


def _with_count(source: DatasetSource, sample: Sample) -> DatasetSource:
    """Generated data come in just the number that the study draws."""
    wanted = (sample.train or 0) + (sample.test or 0)
    if source.generate is None or "count" in source.model_fields_set or sample.train is None:
        return source
    return source.model_copy(update={"count": wanted})


def _split_once(examples: list[Example], sample: Sample, rows: StudyRows) -> dict[str, list[str]]:
    """The ids of both parts; read back where the study began with them."""
    path = rows.folder / SPLIT
    if rows.begun and path.exists():
        return read_json(path)
    split = split_examples(examples, sample.train, sample.test or 0, sample.seed)
    if not split.test:
        raise DataError("the study has `data` but holds nothing out. Write `sample: {test: 200}`.")
    ids = {"train": [e.id for e in split.train], "test": [e.id for e in split.test]}
    write_json(path, ids)
    return ids


def _pick(examples: list[Example], ids: list[str]) -> list[Example]:
    by_id = {example.id: example for example in examples}
    missing = [id_ for id_ in ids if id_ not in by_id]
    if missing:
        raise DataError(
            f"the data have changed since the study began: {len(missing)} rows of its split are "
            f"gone, {missing[0]} the first. Restore the file, or choose another --output."
        )
    return [by_id[id_] for id_ in ids]


class _TrainingWriter:
    """Writes one training file for each way in which arms read the study's rows."""

    def __init__(
        self, data: DatasetSource, examples: list[Example], ids: list[str], rows: StudyRows
    ) -> None:
        self._data = data
        self._own_key = data.model_dump_json()
        self._examples = examples
        self._ids = ids
        self._rows = rows
        self._written: dict[str, DatasetSource] = {}

    def point(self, recipe: Recipe) -> Recipe:
        """The recipe with its datasets that name no place pointing at the study's rows."""
        datasets = tuple(self._stored(source) for source in recipe.datasets)
        return recipe.model_copy(update={"datasets": datasets})

    def _stored(self, source: DatasetSource) -> DatasetSource:
        if source.path is not None or source.generate is not None:
            return source
        reading = resolve_source(source, self._data)
        key = reading.model_dump_json()
        if key not in self._written:
            own = key == self._own_key
            examples = self._examples if own else _load(reading, self._rows)
            # The same name whichever other arms there are.
            mark = "" if own else f"-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
            path = self._rows.folder / f"train{mark}.jsonl"
            write_examples(path, _pick(examples, self._ids), afresh=not self._rows.begun)
            self._written[key] = stored_source(path, reading)
        return self._written[key]
