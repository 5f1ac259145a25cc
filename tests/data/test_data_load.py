"""Whole data sets: what is loaded, skipped, noted, refused; also the real files where present."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.load import load_examples
from luthier.errors import DataError
from luthier.recipe.dataset import DatasetSource

REAL = Path(__file__).parents[3] / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is absent")


def lines(path: Path, *rows: Any) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def load(path: str, *, skip_bad_rows: bool = False, limit: int | None = None, **source: Any) -> Any:
    dataset = DatasetSource(path=path, **source)
    return load_examples(dataset, skip_bad_rows=skip_bad_rows, limit=limit)


def test_bad_rows_stop_or_are_skipped_and_counted(tmp_path: Path) -> None:
    rows = [{"text": "a"}, {"txt": "b"}, {"text": ""}, {"text": "c"}]
    path = lines(tmp_path / "a.jsonl", *rows)
    with pytest.raises(DataError, match=r"a\.jsonl:2: no column `text`"):
        load(path, type="completion")
    loaded = load(path, type="completion", skip_bad_rows=True)
    assert [example.text for example in loaded.examples] == ["a", "c"]
    assert loaded.skipped == 2
    assert [reason.partition(": ")[0] for reason in loaded.reasons] == [f"{path}:2", f"{path}:3"]


def test_only_bad_rows_are_an_error_that_shows_the_first(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"txt": "b"})
    with pytest.raises(DataError, match=r"no usable row, 1 skipped.*a\.jsonl:1"):
        load(path, type="completion", skip_bad_rows=True)


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"text": "a"}, {"text": "b"}, 7)
    assert len(load(path, type="completion", limit=2).examples) == 2
    with pytest.raises(DataError, match="at least 1"):
        load(path, type="completion", limit=0)


def test_repeated_ids_are_made_unique(tmp_path: Path) -> None:
    ids = ["x", "x", "x#2", "x", "y"]
    path = lines(tmp_path / "a.jsonl", *({"text": "a", "id": name} for name in ids))
    found = [example.id for example in load(path, type="completion").examples]
    assert found == ["x", "x#3", "x#2", "x#4", "y"]


def test_labels_without_words_are_those_of_the_data(tmp_path: Path) -> None:
    rows = [{"label": label, "text": "t"} for label in ("no", "yes", "no")]
    loaded = load(lines(tmp_path / "a.jsonl", *rows), type="classification")
    assert {example.labels for example in loaded.examples} == {("no", "yes")}


def test_tools_are_noted_as_left_out(tmp_path: Path) -> None:
    row = {"messages": [{"role": "assistant", "content": "Hi"}], "tools": "[{}]"}
    path = lines(tmp_path / "a.jsonl", row, {**row, "tools": "[{}]"}, {**row, "tools": ""})
    (note,) = load(path).notes
    assert note.startswith(f"2 rows bring `tools` (the first at {path}:1)")


def test_generated_rows_carry_their_truth() -> None:
    source = DatasetSource(generate="elle", level="cic", count=3, seed=4)
    loaded = load_examples(source)
    assert [example.where for example in loaded.examples] == ["elle:1", "elle:2", "elle:3"]
    assert all(example.truth for example in loaded.examples)


def test_a_dataset_without_a_path_is_refused() -> None:
    with pytest.raises(DataError, match="without `path`"):
        load_examples(DatasetSource())


@needs_real
def test_ag_news_by_index() -> None:
    words = {1: "World", 2: "Sports", 3: "Business", 4: "Science"}
    columns = {"label": 0, "title": 1, "description": 2}
    loaded = load(
        str(REAL / "ag_news/test.csv"),
        type="classification",
        columns=columns,
        prompt="{title}\n{description}",
        label_words=words,
    )
    labels = [example.label for example in loaded.examples]
    assert [labels.count(word) for word in words.values()] == [1900] * 4
    assert loaded.examples[0].messages[0].content.startswith("Fears for T N pension")


@needs_real
@pytest.mark.parametrize(
    ("name", "rows", "source"),
    [
        ("llamafactory_demo/alpaca_en_demo.json", 999, {"type": "alpaca"}),
        ("llamafactory_demo/glaive_toolcall_en_demo.json", 300, {"type": "sharegpt"}),
        ("llamafactory_demo/kto_en_demo.json", 300, {}),
        ("llamafactory_demo/v1_sft_demo.jsonl", 500, {}),
        ("llamafactory_demo/c4_demo.jsonl", 300, {"type": "completion"}),
        (
            "gsm8k/test.jsonl",
            1319,
            {
                "type": "prompt_completion",
                "columns": {"prompt": "question", "completion": "answer"},
            },
        ),
    ],
)
def test_real_files_load_whole(name: str, rows: int, source: dict[str, Any]) -> None:
    assert len(load(str(REAL / name), **source).examples) == rows


@needs_real
def test_preference_rows_are_no_conversations_to_imitate() -> None:
    with pytest.raises(DataError, match=r"dpo_en_demo\.json:2: no turn to train on"):
        load(str(REAL / "llamafactory_demo/dpo_en_demo.json"), type="sharegpt")
