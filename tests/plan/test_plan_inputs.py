"""What is stated for a plan: the study's section is checked, and flags win over it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from luthier.errors import RecipeError
from luthier.plan.inputs import (
    PlanInputs,
    expected_scores,
    find_hardest_rate,
    inputs_of_arm,
    resolve_inputs,
)
from luthier.plan.machine.hardware import Sharding
from luthier.plan.work.workload import Engine
from luthier.recipe import dump_study, load_study
from luthier.recipe.plan_section import EngineName, PlanSection, ShardingName
from luthier.recipe.study import Study

STUDIES = Path(__file__).parent.parent.parent / "studies"
STUDY = """\
study: news
base:
  base_model: embedded
  learning_rate: 1e-5
  datasets: [{path: news.jsonl}]
arms:
  full: {}
  lora: {adapter: lora, lora_r: 8, lora_alpha: 8, lora_target_linear: true}
sample: {train: 900, test: 50}
tasks: [{task: perplexity, data: test.jsonl}]
"""
PLAN = """\
plan:
  gpu: H200
  gpus: {full: 8, lora: 2}
  usd_per_hour: 4
  average_tokens: 300
  tokens_per_second: {full: 1750, lora: 2600}
"""


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str, *overrides: str) -> Study:
        file = tmp_path / "study.yaml"
        file.write_text(text, encoding="utf-8")
        return load_study(file, overrides).study

    return read


@pytest.fixture
def mistakes(read):
    def mistakes(plan: str) -> list[str]:
        with pytest.raises(RecipeError) as caught:
            read(STUDY + plan)
        return [str(problem) for problem in caught.value.problems]

    return mistakes


def test_an_arm_has_its_own_value_where_there_is_a_mapping_and_else_the_common_one(read):
    inputs = inputs_of_arm(PlanInputs(), read(STUDY + PLAN), "lora")
    assert inputs == PlanInputs(
        gpu="H200",
        gpus=2,
        usd_per_hour=4,
        samples=900,
        average_tokens=300,
        tokens_per_second=2600,
        test_examples=50,
    )


def test_an_arm_that_a_mapping_leaves_out_has_no_value(read):
    study = read(STUDY + "plan: {hours: {full: 6}, samples: {lora: 70}}\n")
    assert inputs_of_arm(PlanInputs(), study, "lora").hours is None
    assert inputs_of_arm(PlanInputs(), study, "full").hours == 6
    # The study draws 900; what the plan says comes first.
    assert inputs_of_arm(PlanInputs(), study, "full").samples == 900
    assert inputs_of_arm(PlanInputs(), study, "lora").samples == 70


def test_flags_win_over_the_file(read):
    flags = PlanInputs(usd_per_hour=2.5, samples=10, tokens_per_second=99)
    inputs = inputs_of_arm(flags, read(STUDY + PLAN), "full")
    assert (inputs.usd_per_hour, inputs.samples, inputs.tokens_per_second) == (2.5, 10, 99)
    assert (inputs.gpu, inputs.gpus) == ("H200", 8)


def test_another_device_leaves_price_and_throughput_of_the_file_s_aside(read):
    inputs = inputs_of_arm(PlanInputs(gpu="H100 SXM"), read(STUDY + PLAN), "full")
    assert (inputs.gpu, inputs.usd_per_hour, inputs.tokens_per_second) == ("H100 SXM", None, None)
    same = inputs_of_arm(PlanInputs(gpu="h200"), read(STUDY + PLAN), "full")
    assert (same.usd_per_hour, same.tokens_per_second) == (4, 1750)


def test_another_number_of_devices_keeps_the_price_and_not_the_throughput(read):
    inputs = inputs_of_arm(PlanInputs(gpus=4), read(STUDY + PLAN), "full")
    assert (inputs.gpus, inputs.usd_per_hour, inputs.tokens_per_second) == (4, 4, None)


def test_a_device_that_the_file_does_not_name_completes_it():
    section = PlanSection(usd_per_hour=3, tokens_per_second=500)
    inputs = resolve_inputs(PlanInputs(gpu="L4"), section, None)
    assert (inputs.gpu, inputs.usd_per_hour, inputs.tokens_per_second) == ("L4", 3, 500)


def test_hours_of_the_file_hold_for_its_own_amounts_only():
    section = PlanSection(hours=6, average_tokens=100)
    assert resolve_inputs(PlanInputs(usd_per_hour=5), section).hours == 6
    for flags in (PlanInputs(samples=5), PlanInputs(tokens_per_second=9.0)):
        assert resolve_inputs(flags, section).hours is None


def test_without_a_section_the_flags_are_the_inputs():
    flags = PlanInputs(gpu="L4", gpus=2)
    assert resolve_inputs(flags) == flags


def test_expected_scores_are_of_a_metric_or_of_the_score(read):
    study = read(STUDY + "plan: {expected: {base: 0.5, lora: {accuracy: 0.9, macro_f1: 0.8}}}\n")
    assert expected_scores(study.plan) == {
        "base": {"score": 0.5},
        "lora": {"accuracy": 0.9, "macro_f1": 0.8},
    }
    assert inputs_of_arm(PlanInputs(), study, "lora").expected == {"accuracy": 0.9, "macro_f1": 0.8}
    assert inputs_of_arm(PlanInputs(), study, "full").expected is None


def test_a_misspelt_key_is_refused_with_the_nearest_one(mistakes):
    assert mistakes("plan: {tokens_per_secnd: 9}\n") == [
        "line 11: unknown key `tokens_per_secnd`: did you mean `tokens_per_second`?"
    ]


def test_a_misspelt_arm_is_refused_with_the_nearest_one(mistakes):
    assert mistakes("plan:\n  gpus: {fulll: 2}\n  expected: {bse: 0.5}\n") == [
        "line 12: there is no arm `fulll`: did you mean `full`?",
        "line 13: there is no arm `bse`: did you mean `base`?",
    ]


def test_the_untouched_model_has_scores_and_no_hours(mistakes):
    (mistake,) = mistakes("plan: {hours: {base: 2}}\n")
    assert mistake.startswith("line 11: there is no arm `base`")


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("{gpus: 0}", "`plan.gpus` is `0`; it must be a whole number of at least 1, or a mapping"),
        ("{usd_per_hour: -1}", "`plan.usd_per_hour` is `-1`; it must be an amount of dollars"),
        ("{sharding: zero4}", "`plan.sharding` is `zero4`; it must be one of `none`, `ddp`"),
        ("{tokens_per_second: true}", "`plan.tokens_per_second` is `true`; it must be a number"),
        ("{expected: 0.9}", "`plan.expected` is `0.9`; it must be a mapping of arms to a score"),
        ("7", "`plan` is `7`; it must be a mapping"),
        (
            "{hours: 3, tokens_per_second: 50}",
            "arm `full` has both `tokens_per_second` and `hours`.",
        ),
        (
            "{serving: {usd_per_hour: 4}}",
            "`plan.serving`: `answers_per_hour` is missing.",
        ),
        ("{serving: {api_usd: 4}}", "unknown key `api_usd`"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_must_be(mistakes, plan: str, said: str):
    assert mistakes(f"plan: {plan}\n")[0].startswith(f"line 11: {said}")


def test_a_study_with_a_plan_is_the_same_after_writing_and_reading(read):
    study = read(STUDY + PLAN)
    assert read(dump_study(study)).plan == study.plan


def test_the_command_line_changes_and_removes_the_plan(read):
    assert read(STUDY + PLAN, "plan.gpus.lora=4").plan.gpus == {"full": 8, "lora": 4}
    assert read(STUDY + PLAN, "plan=null").plan is None


def test_file_and_planner_have_the_same_words():
    assert get_args(ShardingName) == get_args(Sharding)
    assert get_args(EngineName) == get_args(Engine)


def test_every_study_with_a_plan_loads_and_its_rehearsal_has_none():
    files = sorted([*STUDIES.glob("spark/*.yaml"), *STUDIES.glob("elle/*.yaml")])
    assert len(files) == 11 + 6
    for file in files:
        assert load_study(file).study.plan is not None
        if "scales:" in file.read_text(encoding="utf-8"):
            assert load_study(file, scale="embedded").study.plan is None


def test_of_several_expected_scores_the_one_nearest_a_half_decides_what_can_be_seen() -> None:
    rate = find_hardest_rate({"json_valid": 0.97, "cic_accuracy": 0.72, "reward": 3.0})
    assert rate is not None
    assert (rate.value, rate.basis) == (0.72, "given")
    assert find_hardest_rate({"reward": 3.0}) is None
