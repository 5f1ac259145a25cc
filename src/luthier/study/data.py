"""A study's data: drawn and split once, then the same for every arm, seed and task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from luthier.data.examples import Example
from luthier.data.load import load_examples
from luthier.data.split import split_examples
from luthier.data.stored import write_examples
from luthier.errors import DataError
from luthier.files import read_json, write_json
from luthier.recipe.dataset import DatasetSource, resolve_source
from luthier.recipe.schema import Recipe
from luthier.recipe.study import Arm, LoadedStudy, Sample, Study

SPLIT = "split.json"


class StudyData(NamedTuple):
    """Where the arms train and the tasks score.

    Attributes:
        arms: the arms, their datasets pointing at files of the study.
        test: the rows to score, by the name of the task.
    """

    arms: tuple[Arm, ...]
    test: dict[str, DatasetSource]


def prepare_study_data(loaded: LoadedStudy, folder: Path, *, skip_bad_rows: bool) -> StudyData:
    """Split the study's `data` into `folder` and point every arm and task at its part.

    The split is by example id and drawn from `sample.seed` alone, so all arms train on the same
    rows even where they read them in different ways.

    Raises:
        DataError: bad rows, or too few for the sizes asked for.
    """
    study = loaded.study
    if study.data is None:
        own = {task.name: task.data for task in study.tasks if task.data is not None}
        return StudyData(loaded.arms, own)
    source = _with_count(study.data, study.sample)
    examples = load_examples(source, skip_bad_rows=skip_bad_rows).examples
    split = _split_once(examples, study.sample, folder)
    test = write_examples(folder / "test.jsonl", _pick(examples, split["test"]))
    writer = _TrainingWriter(source, split["train"], folder, skip_bad_rows)
    arms = tuple(Arm(arm.name, writer.point(arm.recipe)) for arm in loaded.arms)
    return StudyData(arms, {task.name: task.data or test for task in study.tasks})


def test_sources(study: Study, folder: Path) -> dict[str, DatasetSource]:
    """The rows each task scores, of a study whose data are prepared already."""
    from luthier.data.stored import stored_source

    raw_text = study.data is not None and study.data.type == "completion"
    stored = stored_source(folder / "test.jsonl", raw_text=raw_text)
    return {task.name: task.data or stored for task in study.tasks}


def _with_count(source: DatasetSource, sample: Sample) -> DatasetSource:
    """Generated data come in just the number that the study draws."""
    wanted = (sample.train or 0) + (sample.test or 0)
    if source.generate is None or "count" in source.model_fields_set or sample.train is None:
        return source
    return source.model_copy(update={"count": wanted})


def _split_once(examples: list[Example], sample: Sample, folder: Path) -> dict[str, list[str]]:
    """The ids of both parts; read back where they were drawn before."""
    path = folder / SPLIT
    if path.exists():
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
        self, data: DatasetSource, ids: list[str], folder: Path, skip_bad_rows: bool
    ) -> None:
        self._data = data
        self._ids = ids
        self._folder = folder
        self._skip_bad_rows = skip_bad_rows
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
            examples = load_examples(reading, skip_bad_rows=self._skip_bad_rows).examples
            name = "train.jsonl" if not self._written else f"train-{len(self._written) + 1}.jsonl"
            stored = write_examples(self._folder / name, _pick(examples, self._ids))
            # What concerns the tokens and not the rows is the arm's choice still.
            kept: Mapping[str, object] = {
                field: getattr(source, field)
                for field in ("chat_template", "train_on_eos", "roles_to_train")
                if field in source.model_fields_set
            }
            self._written[key] = stored.model_copy(update=kept)
        return self._written[key]
