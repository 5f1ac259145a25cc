"""A study's plan: amounts that are counted, seeds that multiply, scores that are stated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.errors import DataError
from luthier.plan.inputs import PlanInputs
from luthier.plan.render_study import render_study
from luthier.plan.study_plan import StudyPlan, plan_study
from luthier.recipe.load_study import load_study

CPU = PlanInputs(gpu="cpu")
SHARES = ["elle"]


def write_rows(file: Path, count: int) -> str:
    rows = [{"instruction": f"Add 1 to {n}.", "output": f"{n + 1}"} for n in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def plan(folder: Path, flags: PlanInputs = CPU, **changes: Any) -> StudyPlan:
    rows = write_rows(folder / "rows.jsonl", 50)
    held = write_rows(folder / "held.jsonl", 30)
    study = {
        "study": "sums",
        "data": {"path": rows, "type": "alpaca"},
        "sample": {"test": 10},
        "base": {"base_model": "embedded", "learning_rate": 1e-3, "sequence_len": 128},
        "arms": {"full": {}, "lora": {"adapter": "lora", "lora_r": 4, "lora_alpha": 8,
                                      "lora_target_linear": True}},
        "tasks": [
            {"task": "perplexity"},
            {"task": "perplexity", "name": "held", "data": {"path": held, "type": "alpaca"}},
        ],
        "baseline": "full",
        **changes,
    }  # fmt: skip
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return plan_study(load_study(file), flags)


def test_rows_that_are_not_drawn_for_testing_are_trained_on(tmp_path: Path) -> None:
    for run in plan(tmp_path).runs:
        assert run.counted
        assert run.workload.examples.value == 50 - 10


@pytest.mark.parametrize("sample", [{"test": 60}, {"train": 45, "test": 10}])
def test_more_rows_than_there_are_cannot_be_drawn(tmp_path: Path, sample: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"50 rows are too few .*`sample`"):
        plan(tmp_path, sample=sample)


def test_generated_rows_are_as_many_as_are_drawn(tmp_path: Path) -> None:
    data = {"generate": "elle"}
    found = plan(tmp_path, data=data, sample={"train": 1500, "test": 10}, tasks=["elle"])
    assert found.runs[0].workload.examples.value == 1500
    with pytest.raises(DataError, match="too few"):
        plan(tmp_path, data=data, sample={"test": 5000}, tasks=["elle"])


def test_each_task_counts_its_own_rows(tmp_path: Path) -> None:
    examples = {task.task: task.examples.value for task in plan(tmp_path).tasks}
    assert examples == {"perplexity": 10, "held": 30}


def test_stated_test_examples_count_for_every_task(tmp_path: Path) -> None:
    found = plan(tmp_path, CPU._replace(test_examples=400))
    assert {task.examples.value for task in found.tasks} == {400}


def test_seeds_multiply_the_hours_of_all_arms(tmp_path: Path) -> None:
    once, thrice = plan(tmp_path), plan(tmp_path, seeds=[1, 2, 3])
    assert once.hours is not None
    assert thrice.hours is not None
    assert once.hours.value == pytest.approx(sum(run.time.total_hours.value for run in once.runs))
    assert thrice.hours.value == pytest.approx(3 * once.hours.value)


def test_more_seeds_show_a_smaller_difference_where_seeds_vary(tmp_path: Path) -> None:
    def shown(seeds: list[int]) -> float:
        found = plan(tmp_path, CPU._replace(test_examples=2000), seeds=seeds, tasks=SHARES).tasks[0]
        assert found.detectable_difference is not None
        return found.detectable_difference.value

    assert shown([1, 2, 3, 4, 5]) < shown([1, 2, 3])


def test_an_own_machine_has_no_price_and_needs_no_warning(tmp_path: Path) -> None:
    found = plan(tmp_path)
    assert found.usd is None
    assert not any("price" in warning for run in found.runs for warning in run.warnings)


def test_no_difference_is_promised_in_nats_per_token(tmp_path: Path) -> None:
    found = plan(tmp_path)
    assert all(task.detectable_difference is None for task in found.tasks)
    assert "points" not in render_study(found)


def test_expected_scores_too_close_for_the_test_rows_are_named(tmp_path: Path) -> None:
    found = plan(tmp_path, tasks=SHARES, plan={"expected": {"full": 0.80, "lora": 0.82}})
    assert any("lora" in warning and "+2.0" in warning for warning in found.warnings)


def test_expected_scores_far_apart_are_not(tmp_path: Path) -> None:
    flags = CPU._replace(test_examples=2000)
    assert not plan(
        tmp_path, flags, tasks=SHARES, plan={"expected": {"full": 0.5, "lora": 0.9}}
    ).warnings


def test_a_score_in_percent_is_named_and_not_passed_over(tmp_path: Path) -> None:
    found = plan(tmp_path, tasks=SHARES, plan={"expected": {"full": 85, "lora": 0.9}})
    assert any("full 85" in warning and "0.85" in warning for warning in found.warnings)


def test_one_arm_that_nothing_can_tell_says_what_that_rests_on(tmp_path: Path) -> None:
    flags = CPU._replace(test_examples=4)
    said = render_study(plan(tmp_path, flags, tasks=SHARES, arms={"full": {}}))
    assert "no gain over the baseline" in said
    assert "(assumed: rate 0.8)" in said
    assert "(1 arm)" in said
