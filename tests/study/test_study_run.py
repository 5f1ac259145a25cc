"""A study from its file to its report, through kills, failures and changes of mind."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from driven_study import Driven
from safetensors.torch import load_file
from tiny_models import save_base_model
from typer.testing import CliRunner

from luthier.api import compare, evaluate, run_study
from luthier.cli import app
from luthier.errors import LuthierError, OutputError
from luthier.recipe.load_study import load_study
from luthier.study.ledger import hold_alone
from luthier.study.run import describe_status

COMMAND = [sys.executable, "-m", "luthier.cli", "study"]
TIMED = {"seconds", "tokens_per_second", "peak_memory_bytes"}


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory, study_text: str) -> Path:
    file = tmp_path_factory.mktemp("study") / "parity.yaml"
    file.write_text(study_text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def finished(study_file: Path) -> Path:
    """The folder of a study that ran to its end through the command."""
    folder = study_file.parent / "whole"
    done = subprocess.run(
        [*COMMAND, "run", str(study_file), "--output", str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert str(folder / "report.html") in done.stdout.replace("\n", "")
    return folder


def read_results(folder: Path) -> list[tuple[str, ...]]:
    """The rows of results.csv that do not depend on the clock."""
    with (folder / "results.csv").open(encoding="utf-8") as file:
        return [tuple(row.values()) for row in csv.DictReader(file) if row["metric"] not in TIMED]


def list_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_study_leaves_the_documented_files(finished: Path) -> None:
    for name in (
        "study.yaml",
        "data/split.json",
        "data/train.jsonl",
        "data/test.jsonl",
        "base/eval/classification.json",
        "base/eval/perplexity.jsonl",
        "full/seed-3/recipe.yaml",
        "full/seed-3/provenance.json",
        "full/seed-3/metrics.jsonl",
        "full/seed-3/done.json",
        "full/seed-3/model/config.json",
        "lora/seed-3/adapter/adapter_config.json",
        "lora/seed-3/eval/classification.jsonl",
        "results.csv",
        "report.html",
    ):
        assert (finished / name).exists(), name
    assert list((finished / "data" / "prepared").iterdir())
    for absent in ("error.json", "checkpoints", ".staged-*", ".*.partial"):
        assert not list(finished.rglob(absent)), absent


def test_every_value_stands_in_results_csv_once(finished: Path) -> None:
    with (finished / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["study", "arm", "seed", "task", "metric", "value", "n"]
    accuracy = {(row["arm"], row["n"]) for row in rows if row["metric"] == "accuracy"}
    assert accuracy == {("base", "6"), ("full", "6"), ("lora", "6")}
    keys = [(row["arm"], row["seed"], row["task"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys)


def test_what_was_planned_is_written_down_and_reported_beside_what_it_took(finished: Path) -> None:
    planned = json.loads((finished / "plan.json").read_text())
    assert [arm["name"] for arm in planned["arms"]] == ["full", "lora"]
    assert "planned" in (finished / "report.html").read_text(encoding="utf-8").lower()


def test_test_rows_are_never_trained_on(finished: Path) -> None:
    def read(name: str) -> list[dict[str, object]]:
        text = (finished / "data" / name).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    train, test = read("train.jsonl"), read("test.jsonl")
    split = json.loads((finished / "data" / "split.json").read_text())
    assert [row["id"] for row in train] == split["train"]
    assert [row["id"] for row in test] == split["test"]
    prompts = [str(row["messages"]) for row in (*train, *test)]
    assert (len(train), len(test), len(set(prompts))) == (12, 6, 18)
    scored = (finished / "lora/seed-3/eval/classification.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in scored} == set(split["test"])


def test_a_run_is_scored_again_on_the_rows_of_its_study(finished: Path, tmp_path: Path) -> None:
    run = finished / "lora/seed-3"
    again = evaluate(run, "classification", output=tmp_path)
    assert again["metrics"] == json.loads((run / "eval/classification.json").read_text())["metrics"]


def test_the_arms_of_a_study_are_compared_by_their_folders(finished: Path) -> None:
    arms = [str(finished / "full"), str(finished / "lora")]
    comparison = compare(arms, "nats_per_token", task="perplexity")
    (pair,) = comparison.pairs
    assert (comparison.baseline, pair.arm, pair.n) == ("full", "lora", 6)


def test_a_finished_study_is_left_as_it_is(
    finished: Path, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is started from another directory, its folder spelt otherwise."""
    runs = [finished / name for name in ("base", "full", "lora", "data")]

    def read_times() -> dict[Path, int]:
        files = (path for run in runs for path in list_files(run))
        return {path: path.stat().st_mtime_ns for path in files if path.name != "planned.yaml"}

    before, said = read_times(), list[str]()
    monkeypatch.chdir(finished.parent)
    outcome = run_study(study_file, "whole", say=said.append)
    assert not outcome.failed
    assert said == [f"{run}: already done" for run in ("base", "full seed 3", "lora seed 3")]
    assert read_times() == before


def wait_for_steps(metrics: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a run has logged a step."""
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)


def copy_untrained(finished: Path, folder: Path) -> Path:
    """A study whose base is scored already: one process less to wait for."""
    shutil.copytree(finished, folder)
    for name in ("full", "lora"):
        shutil.rmtree(folder / name)
    (folder / "results.csv").unlink()
    return folder


def start(study_file: Path, folder: Path, errors: Path, *options: str) -> subprocess.Popen[bytes]:
    with errors.open("wb") as file:
        return subprocess.Popen(
            [*COMMAND, "run", str(study_file), "--output", str(folder), *options],
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
            # A shell's background jobs ignore Ctrl-C, and so would their children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def check_same_result(folder: Path, finished: Path) -> None:
    """The same scores, and the same weights to the bit."""
    assert read_results(folder) == read_results(finished)
    for name in (
        "full/seed-3/model/model.safetensors",
        "lora/seed-3/adapter/adapter_model.safetensors",
    ):
        ours, theirs = load_file(folder / name), load_file(finished / name)
        assert all(ours[key].equal(theirs[key]) for key in theirs), name
    assert not list(folder.rglob(".staged-*"))


def test_an_interrupted_and_killed_study_ends_as_one_that_was_not(
    finished: Path, study_file: Path
) -> None:
    """First Ctrl-C, then SIGKILL: each time the worker ends with the process that drives it."""
    folder = copy_untrained(finished, study_file.parent / "killed")
    errors = study_file.parent / "errors.txt"
    for run, number in (("full/seed-3", signal.SIGINT), ("lora/seed-3", signal.SIGKILL)):
        driver = start(study_file, folder, errors)
        wait_for_steps(folder / run / "metrics.jsonl", driver)
        workers = psutil.Process(driver.pid).children()
        assert workers
        os.killpg(driver.pid, number)
        assert driver.wait() == (130 if number == signal.SIGINT else -number)
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive
        assert not (folder / run / "done.json").exists()
        if number == signal.SIGINT:
            said = errors.read_text(encoding="utf-8")
            assert "Traceback" not in said
            assert "interrupted. Start it again to go on" in said

    assert start(study_file, folder, errors).wait() == 0
    check_same_result(folder, finished)


def test_two_runs_killed_side_by_side_end_as_those_that_went_one_by_one(
    finished: Path, study_file: Path
) -> None:
    folder = copy_untrained(finished, study_file.parent / "side-by-side")
    errors = study_file.parent / "errors.txt"
    driver = start(study_file, folder, errors, "--jobs", "2")
    for name in ("full", "lora"):
        wait_for_steps(folder / name / "seed-3" / "metrics.jsonl", driver)
    workers = psutil.Process(driver.pid).children()
    assert len(workers) == 2
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    assert start(study_file, folder, errors, "--jobs", "2").wait() == 0
    check_same_result(folder, finished)


def test_a_failed_arm_is_recorded_while_the_others_go_on(
    driven: Callable[..., Driven], study_text: str
) -> None:
    broken = study_text.replace("adapter: lora, ", "adapter: lora, lora_dropout: 0.1, ").replace(
        "lora_target_linear: true", "lora_target_modules: [nowhere]"
    )
    order = broken.replace("  full: {}\n", "").replace("seeds:", "  full: {}\nseeds:")
    study = driven(order)
    outcome = study.run()
    assert [run.title for run in outcome.failed] == ["lora seed 3"]
    shown = CliRunner().invoke(app, ["study", "run", str(study.file), "-o", str(study.folder)])
    assert shown.exit_code == 1
    error = json.loads((study.folder / "lora/seed-3/error.json").read_text())
    assert (error["error"], "nowhere" in error["message"]) == ("ModelError", True)
    assert "Traceback" in error["traceback"]
    assert (study.folder / "full/seed-3/done.json").exists()
    assert "nowhere" in (study.folder / "report.html").read_text(encoding="utf-8")

    study.file.write_text(study.file.read_text().replace("[nowhere]", "[q_proj]"))
    assert not study.run().failed
    assert study.worked == ["lora --seed 3"]
    assert not (study.folder / "lora/seed-3/error.json").exists()


def test_a_run_whose_loss_was_no_number_begins_anew_once_mended(
    driven: Callable[..., Driven],
) -> None:
    study = driven()
    unlucky = ["max_steps=4", "learning_rate=1e30", "max_grad_norm=0", "lr_scheduler=constant"]
    outcome = study.run(*unlucky)
    assert len(outcome.failed) == 2
    error = json.loads((study.folder / "full/seed-3/error.json").read_text())
    assert error["error"] == "TrainingError"
    assert (study.folder / "full/seed-3/recipe.yaml").exists()
    assert not study.run(*unlucky[:1]).failed
    assert "full seed 3: it failed with other settings; starting it anew" in study.said
    assert "base" not in study.worked


def test_arms_seeds_and_tasks_may_be_added(driven: Callable[..., Driven]) -> None:
    study = driven()
    study.run("tasks=[perplexity]")
    outcome = study.run(
        "tasks=[perplexity, classification]", "seeds=[3, 4]", "arms.late={learning_rate: 1e-4}"
    )
    assert not outcome.failed
    assert study.worked == [
        "base",
        "full --seed 3",
        "full --seed 4",
        "lora --seed 3",
        "lora --seed 4",
        "late --seed 3",
        "late --seed 4",
    ]
    study.run("tasks=[perplexity, classification]", "seeds=[3, 4]")
    assert study.worked == []


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("sample.test=5", "sample"),
        ("data.prompt='{number}?'", "data"),
        ("tasks=[{task: classification, limit: 2}]", "tasks (classification)"),
        ("learning_rate=1e-2", "learning_rate"),
        ("base_model=embedded", "base_model"),
    ],
)
def test_what_the_results_rest_on_may_not_change(
    override: str, named: str, finished: Path, study_file: Path
) -> None:
    before = {p: p.read_bytes() for p in list_files(finished)}
    with pytest.raises(OutputError, match="another") as refused:
        run_study(study_file, finished, overrides=[override])
    assert named in str(refused.value)
    assert {p: p.read_bytes() for p in list_files(finished)} == before


def test_changed_rows_are_refused(driven: Callable[..., Driven], tmp_path: Path) -> None:
    study = driven()
    rows = tmp_path / "rows.csv"
    lines = [f"{number},{('even', 'odd')[number % 2]}" for number in range(24)]
    rows.write_text("\n".join(["number,label", *lines]), encoding="utf-8")
    study.run(f"data={rows}", "tasks=[perplexity]")
    rows.write_text("\n".join(["number,label", *reversed(lines)]), encoding="utf-8")
    with pytest.raises(LuthierError, match="the data have changed since the study began"):
        study.run(f"data={rows}", "tasks=[perplexity]", "arms.late={}")


def test_arms_that_read_the_rows_differently_train_on_the_same_ones(
    driven: Callable[..., Driven], study_text: str
) -> None:
    study = driven(study_text.replace("full: {}", 'full: {datasets: [{prompt: "{number}?"}]}'))
    assert not study.run("tasks=[perplexity]").failed
    split = json.loads((study.folder / "data/split.json").read_text())
    files = sorted((study.folder / "data").glob("train*.jsonl"))
    assert len(files) == 2
    for file in files:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert [row["id"] for row in rows] == split["train"]
    asked = {json.loads(f.read_text().splitlines()[0])["messages"][0]["content"] for f in files}
    assert {"Is" in text for text in asked} == {True, False}
    # An arm before the others changes nothing for them.
    text = study.file.read_text().replace(
        "arms:\n", 'arms:\n  new: {datasets: [{prompt: "{number}"}]}\n'
    )
    study.file.write_text(text)
    assert not study.run("tasks=[perplexity]").failed
    assert study.worked == ["new --seed 3"]


def test_the_base_is_asked_with_the_template_of_the_arms(
    driven: Callable[..., Driven], study_text: str, tmp_path: Path
) -> None:
    """A base model without a chat template, which the recipe gives it."""
    base = save_base_model(tmp_path / "plain", "gpt2")
    (base / "chat_template.jinja").unlink()
    text = study_text.replace("base:\n", "base:\n  chat_template: chatml\n")
    study = driven(text)
    outcome = study.run(f"base_model={base}", "arms.lora=null")
    assert not outcome.failed, [(run.folder / "error.json").read_text() for run in outcome.failed]
    line = (study.folder / "base/eval/classification.jsonl").read_text().splitlines()[0]
    assert json.loads(line)["prompt"].endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_status_tells_where_each_run_stands(finished: Path) -> None:
    loaded = load_study(finished / "study.yaml", ["seeds=[3, 4]"])
    where = {run.title: status for run, status in describe_status(loaded, finished)}
    assert where == {
        "base": "done",
        "full seed 3": "done",
        "full seed 4": "not started",
        "lora seed 3": "done",
        "lora seed 4": "not started",
    }
    shown = CliRunner().invoke(app, ["study", "status", str(finished)])
    assert (shown.exit_code, shown.stdout.count("done")) == (0, 3)


def test_the_process_that_drives_a_study_holds_no_torch() -> None:
    """Its memory would stand beside that of the runs."""
    script = "import sys, luthier.study.run, luthier.report; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_one_study_is_run_by_one_process(driven: Callable[..., Driven]) -> None:
    study = driven()
    study.folder.mkdir()
    with hold_alone(study.folder), pytest.raises(OutputError, match="by another process"):
        study.run()
    assert study.worked == []
