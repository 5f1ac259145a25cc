from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from coin_study import write_json, write_scores

from luthier.errors import DataError
from luthier.report.headlines import choose_headlines
from luthier.report.results import LossPoint, read_study


def test_a_complete_study_is_read_whole(study_directory: Path) -> None:
    results = read_study(study_directory)
    assert results.name == "coins & co"
    assert [arm.name for arm in results.arms] == ["full", "<script>"]
    assert [run.status for run in (results.base, *results.runs)] == ["done"] * 3
    full = results.arms[0].runs[0]
    assert full.losses == (LossPoint(1, 2.0), LossPoint(2, 1.0))
    assert full.validation_losses == (LossPoint(2, 1.25),)
    assert full.evaluations["classification"].metrics["accuracy"].value == 0.3
    assert full.settings["learning_rate"] == 0.002


def test_a_folder_without_study_yaml_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no study\.yaml"):
        read_study(tmp_path)


def test_runs_are_missing_running_or_failed_by_their_files(
    write_study: Callable[..., Path],
) -> None:
    root = write_study(seeds=[1, 2, 3])
    (root / "full" / "seed-1").mkdir(parents=True)
    (root / "full" / "seed-1" / "recipe.yaml").write_text("learning_rate: 0.1\n")
    write_json(
        root / "full" / "seed-2" / "error.json", {"error": "TrainingError", "message": "nan"}
    )
    runs = read_study(root).arms[0].runs
    assert [run.status for run in runs] == ["running", "failed", "missing"]
    assert runs[1].failure is not None
    assert (runs[1].failure.error, runs[1].failure.message) == ("TrainingError", "nan")


def test_a_trained_run_without_its_scores_is_not_done(study_directory: Path) -> None:
    shutil.rmtree(study_directory / "full" / "seed-7" / "eval")
    assert read_study(study_directory).arms[0].runs[0].status == "running"


def test_an_error_that_a_later_attempt_overcame_is_no_failure(study_directory: Path) -> None:
    write_json(study_directory / "full/seed-7/error.json", {"error": "OSError", "message": "full"})
    run = read_study(study_directory).arms[0].runs[0]
    assert (run.status, run.failure) == ("done", None)


def test_half_a_line_and_repeated_steps_of_a_killed_run_are_tolerated(
    study_directory: Path,
) -> None:
    metrics = study_directory / "full/seed-7/metrics.jsonl"
    metrics.write_text(
        '{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 9.0}\n'
        '{"step": 2, "loss": 2.5}\n{"step": 3, "loss": NaN}\n{"step": 4, "lo'
    )
    losses = read_study(study_directory).arms[0].runs[0].losses
    assert losses == (LossPoint(1, 3.0), LossPoint(2, 2.5))


def test_tasks_go_by_their_own_names(write_study: Callable[..., Path]) -> None:
    assert read_study(write_study(tasks=["elle", "perplexity"])).tasks == ("elle", "perplexity")
    assert read_study(write_study(tasks=[{"task": "elle", "limit": 5}])).tasks == ("elle",)
    root = write_study(tasks=[{"task": "classification", "name": "news"}])
    write_scores(root / "base" / "eval", 4)
    (root / "base/eval/classification.json").rename(root / "base/eval/news.json")
    results = read_study(root)
    assert results.tasks == ("news",)
    assert results.base.evaluations["news"].kind == "classification"
    assert [(h.task, h.metric) for h in choose_headlines(results)] == [("news", "accuracy")]


def test_a_study_without_tasks_is_done_when_trained(write_study: Callable[..., Path]) -> None:
    root = write_study(tasks=[])
    write_json(root / "full" / "seed-7" / "done.json", {"status": "done", "seconds": 1.0})
    results = read_study(root)
    assert [run.status for run in results.runs] == ["done", "missing"]


def test_a_scored_task_that_the_study_does_not_name_is_shown_too(
    write_study: Callable[..., Path],
) -> None:
    root = write_study(tasks=[])
    write_scores(root / "base" / "eval", 4)
    assert read_study(root).tasks == ("classification",)
