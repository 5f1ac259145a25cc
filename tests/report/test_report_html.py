from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from coin_study import STUDY, write_json, write_run, write_scores

from luthier.report import write_report
from luthier.stats.proportions import compute_paired_interval

VOID = {"meta", "link", "br", "img", "input", "hr", "wbr"}


class Page(HTMLParser):
    """Tags must nest and close; ids must be unique; cells and text are kept for looking at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read_page(directory: Path) -> Page:
    text = write_report(directory).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    return page


def test_report_is_one_file_that_loads_nothing(study_directory: Path) -> None:
    path = write_report(study_directory)
    text = path.read_text(encoding="utf-8")
    assert path == study_directory / "report.html"
    assert re.search(r"https?:|//[a-z]|@import|src=|<link|<script|<img|<iframe", text) is None
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert 'name="viewport" content="width=device-width' in text


def test_report_answers_the_question_with_the_right_numbers(study_directory: Path) -> None:
    text = read_page(study_directory).text
    low, high = compute_paired_interval(gained=16, lost=0, n=20)
    assert (
        "On accuracy (classification), <script> is better than base; full shows no detectable "
        "difference from base. The best mean is that of <script>: 100.0% against 20.0%, a "
        f"difference of +80.0 points (95% interval {100 * low:+.1f} to {100 * high:+.1f})." in text
    )
    assert f"+80.0 {100 * low:+.1f} to {100 * high:+.1f} better <0.001" in text
    assert re.search(r"\+10\.0 \S+ to \S+ no detectable difference 0\.500", text)
    assert "Test: exact McNemar." in text


def test_report_shows_costs_settings_environment_and_command(study_directory: Path) -> None:
    text = read_page(study_directory).text
    assert "full 1 min 30 s 100 1.23k 700 MiB 5k (5%) 1.000 1.250" in text
    assert "learning_ rate 0.002 0.001" in text
    assert "adapter – lora" in text
    assert "base_ model" not in text
    assert "torch 2.13.0" in text
    assert "memory 8.00 GiB" in text
    assert "git revision abc123" in text
    assert "luthier study run study.yaml --output 'runs/coins & co'" in text


def test_report_says_what_one_seed_and_twenty_examples_cannot_show(study_directory: Path) -> None:
    text = read_page(study_directory).text
    assert "One seed was run." in text
    assert "each model was scored on 20 examples" in text
    assert re.search(r"a true difference in accuracy of \d+\.\d points with a probability", text)


def test_every_user_string_is_escaped(study_directory: Path) -> None:
    page = read_page(study_directory)
    assert "script" not in page.tags
    assert "em" not in page.tags
    assert "Does <em>training</em> help?" in page.text


def test_two_renderings_are_byte_equal(study_directory: Path) -> None:
    first = write_report(study_directory).read_bytes()
    assert write_report(study_directory).read_bytes() == first


def test_confusion_matrices_hold_the_counts(study_directory: Path) -> None:
    # full: right on e0 to e5, all of class a; wrong on four of a and all ten of b.
    text = write_report(study_directory).read_text(encoding="utf-8")
    figure = re.search(r'aria-label="Confusion matrix of full\.".*?</svg>', text, re.DOTALL)
    assert figure is not None
    counts = [int(count) for count in re.findall(r">(\d+)</text>", figure[0])]
    assert counts == [6, 4, 10, 0]


def test_a_study_not_yet_run_has_a_report(write_study: Callable[..., Path]) -> None:
    text = read_page(write_study()).text
    assert "Nothing has been scored yet, so there is no answer." in text
    assert "0 of 2 runs are complete" in text
    assert "base : not started full, seed 7 : not started" in text


def test_a_study_without_question_tasks_or_arms_has_a_report(
    write_study: Callable[..., Path],
) -> None:
    text = read_page(write_study(question=None, tasks=[], arms={}, baseline=None)).text
    assert "How do the arms compare with base?" in text


def test_a_failed_arm_is_named_with_its_error_and_the_others_are_compared(
    study_directory: Path,
) -> None:
    shutil.rmtree(study_directory / "full" / "seed-7")
    message = "the loss is <b>nan</b> at step 3. Lower learning_rate."
    write_json(
        study_directory / "full/seed-7/error.json",
        {"error": "TrainingError", "message": message, "traceback": "secret"},
    )
    page = read_page(study_directory)
    assert f"full, seed 7 : failed TrainingError: {message}" in page.text
    assert "On accuracy (classification), <script> is better than base: 100.0%" in page.text
    assert "not scored yet" in page.text
    assert "secret" not in page.text


def test_training_without_scores_yet_shows_loss_and_cost(study_directory: Path) -> None:
    for folder in ("base", "full/seed-7/eval", "<script>/seed-7/eval"):
        shutil.rmtree(study_directory / folder)
    text = read_page(study_directory).text
    assert "Loss curves" in text
    assert "What it cost" in text
    assert "Nothing has been scored yet" in text


def test_seeds_scored_on_different_examples_are_not_compared_but_explained(
    write_study: Callable[..., Path],
) -> None:
    root = write_study(seeds=[7, 8])
    write_scores(root / "base" / "eval", 4)
    for seed in (7, 8):
        write_run(root, "full", seed, STUDY)
    lines = root / "full/seed-8/eval/classification.jsonl"
    lines.write_text(lines.read_text().replace('"e0"', '"other"'))
    assert "The seeds of full were scored on different examples." in read_page(root).text


def test_a_trained_baseline_keeps_the_base_model_out_of_the_answer(study_directory: Path) -> None:
    study = study_directory / "study.yaml"
    study.write_text(study.read_text().replace("baseline: base", "baseline: full"))
    text = read_page(study_directory).text
    # 100% against 30%: fourteen examples gained, none lost; base − full is −10 points.
    assert "On accuracy (classification), <script> is better than full: 100.0% against" in text
    assert "a difference of +70.0 points" in text
    assert "base 20.0% −10.0" in text
    assert "The untouched base model is left out here" in text


def test_many_arms_of_one_verdict_are_counted_instead_of_named(
    write_study: Callable[..., Path],
) -> None:
    arms = {f"full-{number}": {} for number in range(6)}
    root = write_study(arms=arms)
    write_scores(root / "base" / "eval", 4)
    for number, arm in enumerate(arms):
        write_run(root, "full", 7, STUDY).parent.rename(root / arm)
        write_scores(root / arm / "seed-7" / "eval", 20 if number == 0 else 5)
    text = read_page(root).text
    # 16 gained: p = 2 · 0.5¹⁶, times six.
    assert (
        "full-0 is better than base; 5 of 6 arms show no detectable difference from base." in text
    )
