"""Every figure of the source documents that follows from their inputs is right, or listed as wrong.

`source_spark.py` and `source_elle.py` walk the documents; docs/source-tables.md lists what they
find. The documents lie beside the repository; without them these tests are skipped.
"""

from __future__ import annotations

import re

import pytest
from source_elle import walk_elle
from source_spark import EXPERIMENTS, SPARK, hours, walk_spark
from stated import MISSION, NUMBER, ROOT, Row, find, read_document, read_table

from luthier.plan.amounts.tokens import count_tokens
from luthier.plan.figure import Figure
from luthier.plan.inputs import PlanInputs, inputs_of_arm
from luthier.plan.machine.devices import build_machine, find_device
from luthier.plan.model.model_config import read_facts
from luthier.plan.outcome.points import TIME_CATEGORIES
from luthier.plan.time.estimate import estimate_time
from luthier.plan.work.workload_build import build_workload
from luthier.recipe import load_study
from luthier.recipe.study import LoadedStudy

PAGE = ROOT / "docs" / "source-tables.md"
DOCUMENTS = ("004", "000", "001", "002")

pytestmark = pytest.mark.skipif(not MISSION.is_dir(), reason="../shared/mission is absent")


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [*walk_spark(), *walk_elle()]


def page_section(document: str) -> str:
    """The page's part on one document."""
    parts = re.split(r"^## (?=\d{3}: )", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return next(part for part in parts if part.startswith(document))


def listed(document: str) -> dict[tuple[str, str], str]:
    """Row and stated figure → the right one, as the page lists them."""
    lines = read_table(page_section(document), "row")
    return {(line["row"], line["stated"]): line["right"] for line in lines}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_page_lists_exactly_the_figures_that_do_not_follow(document: str, rows: list[Row]):
    wrong = {(row.where, row.stated) for row in rows if row.document == document and not row.agrees}
    assert set(listed(document)) == wrong


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_page_gives_the_right_figure_beside_the_stated_one(document: str, rows: list[Row]):
    right = listed(document)
    for row in rows:
        if row.document == document and not row.agrees:
            number = NUMBER.findall(right[row.where, row.stated])[0]
            unit = 10.0 ** -len(number.partition(".")[2])
            assert float(number.replace(",", "")) == pytest.approx(row.computed, abs=unit / 2), row


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_page_counts_the_walked_figures(document: str, rows: list[Row]):
    mine = [row.agrees for row in rows if row.document == document]
    counts = f"{len(mine)} figures follow from stated inputs; {sum(mine)} agree."
    assert counts in page_section(document)


def load_spark(name: str) -> LoadedStudy:
    return load_study(SPARK / f"{name}.yaml")


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda item: item.study)
def test_a_spark_study_holds_the_inputs_of_the_summary(experiment):
    text = read_document("004")
    line = next(row for row in read_table(text, "#") if row["#"] == str(experiment.number))
    loaded = load_spark(experiment.study)
    arms = (
        {"dpo": loaded.arms[1]} if experiment.study == "dpo" else {a.name: a for a in loaded.arms}
    )
    answers = 2 if experiment.study == "dpo" else 1
    for name, arm in arms.items():
        inputs = inputs_of_arm(PlanInputs(), loaded.study, name)
        assert inputs.gpu == "GB10"
        assert inputs.samples == 1000 * int(line["Dataset Size"].rstrip("K"))
        assert inputs.average_tokens == answers * int(line["Avg Tok"].partition("x")[0])
        assert arm.recipe.sequence_len == int(line["Seq Len"])
        assert arm.recipe.base_model == "Qwen/Qwen2.5-7B"
        if name != "dpo":
            assert arm.recipe.num_epochs == experiment.epochs[name]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda item: item.study)
def test_a_spark_study_takes_the_throughput_of_its_sequence_length(experiment):
    text = read_document("004")
    table = {line["Method"]: line for line in read_table(text, "Method", "### Throughput Scaling")}
    loaded = load_spark(experiment.study)
    for arm in loaded.arms:
        method = "Full FT" if arm.name == "full" else "LoRA"
        (number,) = NUMBER.findall(table[method][f"seq {arm.recipe.sequence_len}"])
        # A pair's tokens pass through the policy and through its reference.
        passes = 2 if arm.name == "dpo" else 1
        rate = inputs_of_arm(PlanInputs(), loaded.study, arm.name).tokens_per_second
        assert rate == float(number.replace(",", "")) / passes


# Its "Recommended Training Config": micro-batch, accumulation and checkpointing.
CONFIG = {
    (1024, "LoRA"): (8, 2, False),
    (1024, "Full FT"): (4, 2, False),
    (2048, "LoRA"): (4, 4, False),
    (2048, "Full FT"): (2, 8, True),
}


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda item: item.study)
def test_a_spark_study_takes_the_documented_batches(experiment):
    table = {line["Seq Length"]: line for line in read_table(read_document("004"), "Seq Length")}
    for arm in load_spark(experiment.study).arms:
        recipe = arm.recipe
        method = "Full FT" if arm.name == "full" else "LoRA"
        assert CONFIG[recipe.sequence_len, method] == (
            recipe.micro_batch_size,
            recipe.gradient_accumulation_steps,
            recipe.gradient_checkpointing,
        )
        allowed = table[str(recipe.sequence_len)][f"{method} Batch Size"].split("-")
        assert int(allowed[0]) <= recipe.micro_batch_size <= int(allowed[-1])


def test_those_batches_are_the_document_s():
    text = read_document("004")
    pattern = r"BATCH_SIZE = (\d) if lora else (\d)\nGRADIENT\w+ = (\d)\n"
    assert find(text, pattern) == ("8", "4", "2")
    pattern = r"BATCH_SIZE = (\d) if lora else (\d)\nGRADIENT\w+ = (\d) if lora else (\d)\n"
    assert find(text, pattern) == ("4", "2", "4", "8")


def test_full_fine_tuning_keeps_4096_tokens_in_a_micro_batch_at_every_length():
    """ "same activation memory as batch=8 @ seq=512"."""
    lines = read_table(read_document("004"), "Seq Length")
    tokens = [int(line["Seq Length"]) * int(line["Full FT Batch Size"]) for line in lines]
    assert tokens == [4096, 4096, 4096, 4096]


def test_the_measured_throughput_is_the_table_s_at_512():
    text = read_document("004")
    table = {
        line["Method"]: line["seq 512"] for line in read_table(text, "Method", "### Throughput Sc")
    }
    plan = load_study(SPARK / "ag_news.yaml").study.plan
    assert plan is not None
    assert isinstance(plan.tokens_per_second, dict)
    assert table == {"LoRA": "3,000", "Full FT": "2,000"}
    assert (plan.tokens_per_second["lora"], plan.tokens_per_second["full"]) == (3000, 2000)


def test_the_planner_s_time_categories_have_the_document_s_borders():
    lines = read_table(read_document("004"), "Category")
    for line, category in zip(lines, TIME_CATEGORIES, strict=True):
        assert category.name == line["Category"].lower()
        borders = [float(number) for number in re.findall(r"\d+", line["Wall-Clock Time"])]
        if len(borders) == 2:
            # Its quick ones begin at 4 h; a shorter one has no other category.
            assert category.at_least_hours == (0 if borders[0] == 4 else borders[0])
            assert category.below_hours == borders[1]
        else:
            assert category.at_least_hours == borders[0]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda item: item.study)
def test_the_planner_s_training_hours_are_those_of_the_walk(experiment):
    loaded = load_spark(experiment.study)
    facts = read_facts("Qwen/Qwen2.5-7B")
    for arm in loaded.arms:
        if arm.name == "sft":
            continue  # the instruction study's
        inputs = inputs_of_arm(PlanInputs(), loaded.study, arm.name)
        counts = count_tokens(arm.recipe, inputs.samples, inputs.average_tokens)
        machine = build_machine(find_device("GB10"), 1, "none", None)
        rate = Figure(inputs.tokens_per_second or 0.0, "given")
        time = estimate_time(build_workload(arm.recipe, facts, counts), machine, None, rate)
        method = "full" if arm.name == "full" else "lora"
        # The planner trains whole optimizer steps: the last one of an epoch may be smaller.
        expected = hours(experiment.study, method, experiment.epochs[method])
        assert time.train_hours.value == pytest.approx(expected, rel=1e-3)
