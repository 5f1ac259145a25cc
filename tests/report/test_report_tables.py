from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

from coin_study import STUDY, write_json, write_run, write_scores
from rich.console import Console

from luthier.report import read_study, render_terminal_table, write_results_csv

ROWS_OF_FULL = """\
coins & co,full,7,training,seconds,90.0,
coins & co,full,7,training,tokens,100,
coins & co,full,7,training,tokens_per_second,1234.5,
coins & co,full,7,training,peak_memory_bytes,734003200,
coins & co,full,7,training,trainable_parameters,5000,
coins & co,full,7,training,final_loss,1.0,
coins & co,full,7,training,val_loss,1.25,
coins & co,full,7,classification,accuracy,0.3,20
coins & co,full,7,classification,macro_f1,0.25,20
"""


def show(directory: Path) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(render_terminal_table(read_study(directory)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def find_line(text: str, beginning: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(beginning))


def test_results_csv_has_one_row_per_value(study_directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    write_results_csv(read_study(study_directory), path)
    assert path.read_text() == (
        "study,arm,seed,task,metric,value,n\n"
        "coins & co,base,,classification,accuracy,0.2,20\n"
        "coins & co,base,,classification,macro_f1,0.25,20\n"
        + ROWS_OF_FULL
        + ROWS_OF_FULL.replace("full", "<script>").replace("0.3,20", "1.0,20")
    )


def test_results_csv_of_a_study_not_yet_run_is_its_header(
    write_study: Callable[..., Path], tmp_path: Path
) -> None:
    write_results_csv(read_study(write_study()), tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text() == "study,arm,seed,task,metric,value,n\n"


def test_terminal_table_shows_differences_holm_and_verdicts(study_directory: Path) -> None:
    text = show(study_directory)
    better, open_case = find_line(text, "<script>"), find_line(text, "full")
    assert "100.0%" in better
    assert "+80.0 [" in better
    assert "<0.001" in better
    assert better.rstrip().endswith("better")
    assert "30.0%" in open_case
    assert "+10.0 [" in open_case
    assert "0.500" in open_case
    assert "1 min 30 s" in text
    assert "700 MiB" in text


def test_terminal_table_fits_80_columns_with_long_names(write_study: Callable[..., Path]) -> None:
    name = "dora-rslora-loraplus-neftune-" * 3
    study = {**STUDY, "arms": {name: {"lora_r": 8}}}
    root = write_study(**study)
    write_scores(root / "base" / "eval", 4)
    write_run_as(root, name, study)
    assert max(len(line) for line in show(root).splitlines()) <= 80


def write_run_as(root: Path, name: str, study: dict[str, object]) -> None:
    run = write_run(root, "full", 7, STUDY)
    run.parent.rename(root / name)


def test_terminal_table_names_failures_with_their_message(study_directory: Path) -> None:
    shutil.rmtree(study_directory / "full" / "seed-7")
    write_json(
        study_directory / "full/seed-7/error.json",
        {"error": "TrainingError", "message": "[bold]loss is nan[/bold]", "traceback": ""},
    )
    text = show(study_directory)
    # Square brackets in a message are text, not markup of the terminal.
    assert "full, seed 7: failed: TrainingError: [bold]loss is nan[/bold]" in text
    assert "+80.0 [" in find_line(text, "<script>")


def test_a_missing_baseline_is_said(study_directory: Path) -> None:
    shutil.rmtree(study_directory / "base")
    assert "The baseline base has no scores yet" in " ".join(show(study_directory).split())


def test_spread_over_seeds_is_the_sample_deviation(write_study: Callable[..., Path]) -> None:
    root = write_study(seeds=[7, 8])
    write_scores(root / "base" / "eval", 4)
    for seed in (7, 8):
        write_run(root, "full", seed, STUDY)
    write_scores(root / "full" / "seed-8" / "eval", 10)
    # 30% and 50%: mean 40, deviation √(10² + 10²) = 14.1.
    assert "40.0% ± 14.1" in find_line(show(root), "full")
