from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.errors import ComparisonError, DataError
from luthier.stats import read_arms, read_scores


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _rows(**scores: float) -> list[dict[str, Any]]:
    return [
        {"id": key, "prompt": "?", "output": "!", "scores": {"overall": value}}
        for key, value in scores.items()
    ]


def test_rows_are_sorted_by_id(tmp_path: Path):
    path = _write(tmp_path / "elle.jsonl", _rows(b=0.25, a=0.75))
    arm = read_scores(str(path), "overall")
    assert (arm.name, arm.ids, arm.kind) == ("elle", ("a", "b"), "score")
    assert arm.scores_SN.dtype == np.float64
    assert arm.scores_SN.tolist() == [[0.75, 0.25]]


def test_flat_booleans_and_numeric_ids_are_read(tmp_path: Path):
    path = _write(tmp_path / "a.jsonl", [{"id": 1, "hit": True}, {"id": 2, "hit": False}])
    arm = read_scores(str(path), "hit")
    assert (arm.ids, arm.kind) == (("1", "2"), "yes/no")
    assert arm.scores_SN.tolist() == [[1.0, 0.0]]


def test_nested_scores_come_before_flat_keys(tmp_path: Path):
    path = _write(tmp_path / "a.jsonl", [{"id": "x", "m": "text", "scores": {"m": 0.5}}])
    assert read_scores(str(path), "m").scores_SN.tolist() == [[0.5]]


def test_an_arm_folder_gives_one_row_per_seed(tmp_path: Path):
    for seed, value in ((0, 0.1), (1, 0.2)):
        _write(tmp_path / "lora" / f"seed-{seed}" / "eval" / "elle.jsonl", _rows(a=value))
    arm = read_scores(str(tmp_path / "lora"), "overall")
    assert (arm.name, arm.seeds) == ("lora", ("0", "1"))
    assert arm.scores_SN.tolist() == [[0.1], [0.2]]


def test_names_come_from_the_layout_of_a_study(tmp_path: Path):
    base = _write(tmp_path / "base" / "eval" / "elle.jsonl", _rows(a=0.1))
    run = _write(tmp_path / "lora" / "seed-3" / "eval" / "elle.jsonl", _rows(a=0.1))
    named = [base, base.parent, base.parent.parent, run, run.parent.parent]
    arms = [read_scores(str(path), "overall") for path in named]
    assert [arm.name for arm in arms] == ["base", "base", "base", "lora", "lora"]


def test_a_seed_without_evaluation_is_noted(tmp_path: Path):
    _write(tmp_path / "lora" / "seed-0" / "eval" / "elle.jsonl", _rows(a=0.1))
    (tmp_path / "lora" / "seed-1").mkdir()
    arm = read_scores(str(tmp_path / "lora"), "overall")
    assert arm.seeds == ("0",)
    assert "seed-1 has no evaluation of elle" in arm.notes[0]


def test_several_files_make_one_arm(tmp_path: Path):
    first = _write(tmp_path / "x.jsonl", _rows(a=0.1, b=0.3))
    second = _write(tmp_path / "y.jsonl", _rows(b=0.4, a=0.2))
    arm = read_scores(f"mine={first},{second}", "overall")
    assert arm.name == "mine"
    assert arm.scores_SN.tolist() == [[0.1, 0.3], [0.2, 0.4]]


def test_task_chooses_among_several(tmp_path: Path):
    _write(tmp_path / "run" / "eval" / "elle.jsonl", _rows(a=0.1))
    _write(tmp_path / "run" / "eval" / "news.jsonl", _rows(a=0.9))
    with pytest.raises(ComparisonError, match=r"elle, news.*--task"):
        read_scores(str(tmp_path / "run"), "overall")
    with pytest.raises(ComparisonError, match="no evaluation of chess; there are: elle, news"):
        read_scores(str(tmp_path / "run"), "overall", "chess")
    assert read_scores(str(tmp_path / "run"), "overall", "news").scores_SN.tolist() == [[0.9]]


def test_two_arms_of_one_name_go_by_their_arguments(tmp_path: Path):
    paths = [str(_write(tmp_path / d / "elle.jsonl", _rows(a=0.1))) for d in ("x", "y")]
    assert [arm.name for arm in read_arms(paths, "overall")] == paths


def test_one_arm_is_no_comparison(tmp_path: Path):
    with pytest.raises(ComparisonError, match="two arms"):
        read_arms([str(tmp_path)], "overall")


def test_unknown_metric_lists_the_known_ones(tmp_path: Path):
    path = _write(tmp_path / "a.jsonl", _rows(a=0.1))
    with pytest.raises(ComparisonError, match=r"there are: overall\. Did you mean 'overall'"):
        read_scores(str(path), "overal")


def test_a_summary_metric_cannot_be_paired(tmp_path: Path):
    path = _write(tmp_path / "news.jsonl", _rows(a=1))
    summary = {"metrics": {"macro_f1": {"value": 0.8, "n": 1, "kind": "summary"}}}
    path.with_suffix(".json").write_text(json.dumps(summary))
    with pytest.raises(ComparisonError, match="summary over all examples"):
        read_scores(str(path), "macro_f1")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"scores": {"m": 1}}', 'no "id"'),
        ('{"id": null, "scores": {"m": 1}}', 'no "id"'),
        ('{"id": true, "scores": {"m": 1}}', "neither text nor a whole number"),
        ('{"id": "a", "scores": {"m": 1}}', "stands twice"),
        ('{"id": "b", "scores": {}}', "no score for 'm'"),
        ('{"id": "b", "scores": {"m": null}}', "no score for 'm'"),
        ('{"id": "b", "scores": {"m": NaN}}', "not a finite number"),
        ('{"id": "b", "scores": {"m": "good"}}', "not a finite number"),
        ('{"id": "b", "scores": {"m": 1' + "0" * 400 + "}}", "not a finite number"),
        ('{"id": "b", "scores"', "not valid JSON"),
        ("[1]", "expected a JSON object"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: str, message: str):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "scores": {"m": 1}}\n\n' + line + "\n")
    with pytest.raises(DataError, match=message) as caught:
        read_scores(str(path), "m")
    assert f"{path}:3: " in str(caught.value)


def test_empty_file_is_an_error(tmp_path: Path):
    path = _write(tmp_path / "a.jsonl", [])
    with pytest.raises(DataError, match="no rows"):
        read_scores(str(path), "m")


@pytest.mark.parametrize("argument", ["nowhere.jsonl", "x=", "=file", "x=nowhere.jsonl"])
def test_an_argument_that_names_nothing_is_an_error(argument: str):
    with pytest.raises(ComparisonError):
        read_scores(argument, "m")


def test_a_study_folder_names_its_arms(tmp_path: Path):
    _write(tmp_path / "lora" / "seed-0" / "eval" / "elle.jsonl", _rows(a=0.1))
    _write(tmp_path / "base" / "eval" / "elle.jsonl", _rows(a=0.1))
    with pytest.raises(ComparisonError, match="Name an arm in it: base, lora"):
        read_scores(str(tmp_path), "overall")


def test_seeds_on_different_examples_are_refused(tmp_path: Path):
    _write(tmp_path / "lora" / "seed-0" / "eval" / "elle.jsonl", _rows(a=0.1, b=0.2))
    _write(tmp_path / "lora" / "seed-1" / "eval" / "elle.jsonl", _rows(a=0.1, c=0.2))
    with pytest.raises(ComparisonError, match="2 ids are in only one of them, such as 'b'"):
        read_scores(str(tmp_path / "lora"), "overall")


def test_one_file_cannot_stand_for_two_seeds(tmp_path: Path):
    path = _write(tmp_path / "a.jsonl", _rows(a=0.1))
    with pytest.raises(ComparisonError, match="named twice"):
        read_scores(f"x={path},{path}", "overall")
