"""Studies: arms over a base, the grid, seeds, tasks, and where each mistake points."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.errors import Problem, RecipeError
from luthier.recipe import (
    DatasetSource,
    LoadedRecipe,
    LoadedStudy,
    differing_settings,
    dump_study,
    load_any,
    load_study,
    resolve_source,
)

BASE = """\
base_model: embedded
adapter: lora
lora_r: 8
lora_alpha: 16
lora_target_linear: true
learning_rate: 2e-4
"""
STUDY = """\
study: news
question: Does it help?
data:
  path: news.csv
  type: classification
  columns: {label: 0, text: [1, 2]}
  label_words: {1: World, 2: Sports}
  prompt: "{text}"
sample: {train: 60, test: 16}
base:
  base_model: embedded
  adapter: lora
  lora_r: 8
  lora_alpha: 16
  lora_target_linear: true
  learning_rate: 2e-4
arms:
  lora: {}
  dora: {peft_use_dora: true}
  full: {adapter: null, learning_rate: 1e-5}
tasks: [classification]
"""


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str, *overrides: str) -> LoadedStudy:
        file = tmp_path / "study.yaml"
        file.write_text(text, encoding="utf-8")
        return load_study(file, overrides)

    return read


def only(problems: tuple[Problem, ...]) -> Problem:
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def arm(loaded: LoadedStudy, name: str):
    return next(arm.recipe for arm in loaded.arms if arm.name == name)


def test_every_arm_is_the_base_with_its_own_keys(read):
    loaded = read(STUDY)
    assert [arm.name for arm in loaded.arms] == ["lora", "dora", "full"]
    assert arm(loaded, "lora").lora_r == 8
    assert arm(loaded, "dora").peft_use_dora
    assert (arm(loaded, "full").adapter, arm(loaded, "full").learning_rate) == (None, 1e-5)
    assert (loaded.study.seeds, loaded.study.baseline) == ((42,), "base")
    assert [(task.task, task.name) for task in loaded.study.tasks] == [
        ("classification", "classification")
    ]


def test_an_arm_without_an_adapter_leaves_the_bases_adapter_keys_out_and_says_so(read):
    loaded = read(STUDY)
    assert arm(loaded, "full").lora_r is None
    assert any("`full`" in note and "`lora_r`" in note for note in loaded.notes)


def test_an_arms_own_adapter_key_without_an_adapter_is_a_mistake(mistakes):
    problem = only(mistakes(STUDY.replace("{adapter: null,", "{adapter: null, lora_r: 4,")))
    assert "arm `full`" in problem.what
    assert "`lora_r` has no effect" in problem.what
    assert problem.line == 20


def test_a_dataset_without_a_path_reads_rows_as_the_studys_data_does(read):
    loaded = read(STUDY)
    source = arm(loaded, "lora").datasets[0]
    assert source.path is None
    assert source.type == "classification"
    assert source.label_words == {"1": "World", "2": "Sports"}
    assert source.columns == {"label": 0, "text": (1, 2)}


def test_a_datasets_own_keys_win_over_the_studys_data(read):
    text = STUDY.replace(
        "  adapter: lora\n", "  adapter: lora\n  datasets: [{prompt: 'Q {text}'}]\n"
    )
    source = arm(read(text), "lora").datasets[0]
    assert (source.prompt, source.type) == ("Q {text}", "classification")


def test_a_source_is_completed_from_the_data_unless_it_has_its_own_place():
    data = DatasetSource(path="a.csv", prompt="{text}", label_words={"1": "x"})
    completed = resolve_source(DatasetSource(prompt="Q {text}"), data)
    assert (completed.path, completed.prompt) == ("a.csv", "Q {text}")
    assert completed.label_words == {"1": "x"}
    own = DatasetSource(path="b.csv")
    assert resolve_source(own, data) == own
    assert resolve_source(own, None) == own


def test_a_mistake_in_the_data_is_named_once_and_not_per_arm(mistakes):
    problem = only(mistakes(STUDY.replace("type: classification", "type: classificatio")))
    assert (problem.line, problem.key) == (5, "data.type")


def test_the_base_may_be_a_recipe_file_beside_the_study(read, tmp_path):
    (tmp_path / "base.yaml").write_text(BASE + "seed: 3\nlora_use_dora: true\n")
    loaded = read("study: s\nbase: base.yaml\ndata: a.jsonl\narms: {a: {}}\ntasks: perplexity\n")
    assert arm(loaded, "a").peft_use_dora
    assert loaded.study.base["lora_r"] == 8
    assert any("`seed` is replaced" in note for note in loaded.notes)


def test_a_mistake_of_the_base_file_names_that_file_and_its_line(mistakes, tmp_path):
    (tmp_path / "base.yaml").write_text(BASE + "lora_drop: 3\nwarmup_steps: x\n")
    found = mistakes("study: s\nbase: base.yaml\ndata: a\narms: {a: {}, b: {}}\ntasks: perplexity")
    assert len(found) == 2
    assert all(problem.line is None for problem in found)
    assert "base.yaml, line 7: unknown key `lora_drop`" in found[0].what
    assert "base.yaml, line 8: `warmup_steps`" in found[1].what


def test_a_base_file_that_is_absent_is_a_mistake(mistakes):
    found = mistakes("study: s\nbase: none.yaml\ndata: a\narms: {a: {}}\ntasks: perplexity\n")
    assert any("none.yaml" in problem.what and "no such file" in problem.what for problem in found)


def test_a_mistake_of_one_arm_names_it_and_its_line(mistakes):
    problem = only(mistakes(STUDY.replace("lora: {}", "lora: {lora_r: 0}")))
    assert problem.line == 18
    assert problem.what.startswith("arm `lora`: `lora_r` is `0`")


def test_a_mistake_that_all_arms_share_is_named_once(mistakes):
    problem = only(mistakes(STUDY.replace("learning_rate: 2e-4", "learning_rate: 2e-4\n  seed: x")))
    assert problem.line == 17
    assert "arm" not in problem.what


def test_the_grid_runs_every_arm_with_every_combination(read):
    grid = "grid: {lora_r: [4, 8], learning_rate: [1e-4, 0.001]}\n"
    text = STUDY.replace("  full: {adapter: null, learning_rate: 1e-5}\n", "") + grid
    loaded = read(text)
    assert [arm.name for arm in loaded.arms] == [
        f"{name}-lora_r={rank}-learning_rate={rate}"
        for name in ("lora", "dora")
        for rank in (4, 8)
        for rate in ("0.0001", "0.001")
    ]
    last = loaded.arms[-1].recipe
    assert (last.peft_use_dora, last.lora_r, last.learning_rate) == (True, 8, 1e-3)


def test_names_of_the_grid_are_safe_for_any_file_system(read):
    text = STUDY.replace("  full: {adapter: null, learning_rate: 1e-5}\n", "")
    loaded = read(
        text + "grid: {lora_target_modules: [[q_proj, v_proj], 'a/b: *'], bf16: [true]}\n"
    )
    assert loaded.arms[0].name == "lora-lora_target_modules=q_proj+v_proj-bf16=true"
    assert loaded.arms[1].name == "lora-lora_target_modules=a_b_-bf16=true"
    long = ", ".join("x" * 40 + str(i) for i in range(4))
    names = [arm.name for arm in read(text + f"grid: {{lora_target_modules: [[{long}]]}}\n").arms]
    assert all(len(name) <= 100 for name in names)
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("study: news", "study: a b", "cannot name a file"),
        ("study: news", "study:", "`study` is missing"),
        ("tasks: [classification]", "tasks: [classificaton]", "no task `classificaton`"),
        ("tasks: [classification]", "tasks: []", "`tasks` is empty"),
        ("tasks: [classification]", "", "`tasks` is missing"),
        ("tasks: [classification]", "tasks: [elle, elle]", "two tasks are named `elle`"),
        ("tasks: [classification]", "tasks: [{task: elle, limt: 3}]", "did you mean `limit`?"),
        ("tasks: [classification]", "tasks: [{task: elle, limit: 0}]", "whole number"),
        ("tasks: [classification]", "tasks: [{task: elle, data: {pth: x}}]", "`path`"),
        ("tasks: [classification]", "tasks: [3]", "a task is `3`"),
        ("tasks: [classification]", "tasks: [elle]\nseeds: [1, 1]", "listed twice"),
        ("tasks: [classification]", "tasks: [elle]\nseeds: []", "`seeds` is empty"),
        ("tasks: [classification]", "tasks: [elle]\nbaseline: lor", "no arm `lor`"),
        ("tasks: [classification]", "tasks: [elle]\nlora_r: 3", "is a key of recipes"),
        ("tasks: [classification]", "tasks: [elle]\nseads: 3", "did you mean `seeds`?"),
        ("tasks: [classification]", "tasks: [elle]\ngrid: {seed: [1]}", "no `seed` of its own"),
        ("tasks: [classification]", "tasks: [elle]\ngrid: {bf16: true}", "a list of values"),
        (
            "tasks: [classification]",
            f"tasks: [elle]\ngrid: {{warmup_steps: {list(range(99))}}}",
            "the grid makes 297 arms",
        ),
        ("test: 16", "test: 0", "`sample.test` is `0`"),
        ("test: 16", "tst: 16", "did you mean `test`?"),
        ("lora: {}", "base: {}", "`base` is taken"),
        ("lora: {}", "data: {}", "`data` is taken"),
        ("lora: {}", "a/b: {}", "cannot name a file"),
        ("lora: {}", "DORA: {}", "share a folder"),
        ("lora: {}", "lora: 3", "arm `lora` is `3`"),
        ("lora: {}", "lora: {lora_rr: 3}", "did you mean `lora_r`?"),
        ("lora: {}", "lora: {seed: 3}", "no `seed` of its own"),
        ("path: news.csv", "name: x", "the dataset has no `path`"),
    ],
)
def test_each_mistake_of_a_study_is_named(mistakes, old, new, part):
    assert old in STUDY
    found = mistakes(STUDY.replace(old, new))
    assert any(part in str(problem) for problem in found)
    assert len({str(problem) for problem in found}) == len(found) <= 2


def test_without_data_a_dataset_needs_its_path_and_a_task_its_rows(mistakes):
    text = (
        "study: s\nbase: {base_model: embedded, learning_rate: 1}\narms: {a: {}}\ntasks: [elle]\n"
    )
    found = {problem.key: problem.what for problem in mistakes(text)}
    assert found == {
        "datasets": "`datasets` is missing.",
        "tasks[0]": "task `elle` has no rows to score.",
    }


def test_arms_must_be_there(mistakes):
    assert any(
        "`arms` is missing" in p.what for p in mistakes("study: s\ntasks: [elle]\ndata: x\n")
    )
    assert any("`arms` is empty" in p.what or "`arms` is a mapping" in p.what
               for p in mistakes("study: s\narms: {}\ntasks: [elle]\ndata: x\n"))  # fmt: skip


# --set


def test_set_reaches_the_study_first_and_the_base_otherwise(read):
    loaded = read(
        STUDY, "sample.train=7", "seeds=[1, 2]", "max_steps=3", "arms.dora.lora_r=2", "base.seed=1"
    )
    assert (loaded.study.sample.train, loaded.study.seeds) == (7, (1, 2))
    assert {arm.recipe.max_steps for arm in loaded.arms} == {3}
    assert (arm(loaded, "dora").lora_r, arm(loaded, "lora").lora_r) == (2, 8)


def test_set_data_replaces_the_path_and_keeps_how_rows_are_read(read):
    data = read(STUDY, "data=other/test.csv").study.data
    assert data is not None
    assert (data.path, data.type) == ("other/test.csv", "classification")
    generated = read(
        STUDY.replace("path: news.csv", "generate: elle\n  level: cic").replace(
            "type: classification", "type: chat_template"
        ),
        "data=rows.jsonl",
    )
    assert generated.study.data == DatasetSource(
        path="rows.jsonl",
        columns={"label": 0, "text": (1, 2)},
        label_words={"1": "World", "2": "Sports"},
        prompt="{text}",
    )


def test_a_set_that_an_arm_or_the_grid_overrides_is_noted(read):
    assert any("keep their own" in n for n in read(STUDY, "learning_rate=1e-3").notes)
    text = STUDY.replace("  full: {adapter: null, learning_rate: 1e-5}\n", "")
    assert any("no effect" in n for n in read(text + "grid: {lora_r: [1]}\n", "lora_r=3").notes)


def test_a_mistake_in_set_names_it(mistakes):
    assert only(mistakes(STUDY, "sample.tain=3")).what.startswith("--set sample.tain=3: ")
    assert only(mistakes(STUDY, "max_steps=x")).what.startswith("--set max_steps=x: ")
    assert "did you mean `seeds`?" in only(mistakes(STUDY, "seads=3")).mend


# Writing back, and telling the two kinds of file apart


@pytest.mark.parametrize(
    "text",
    [
        STUDY,
        STUDY.replace("[classification]", "[{task: elle, name: own, data: {path: x}, limit: 3}]"),
        STUDY.replace("  full: {adapter: null, learning_rate: 1e-5}\n", "")
        + "grid: {lora_r: [4, 8]}\nseeds: 3\nbaseline: lora-lora_r=4\n",
    ],
)
def test_a_dumped_study_loads_as_the_same_study_and_arms(read, text):
    first = read(text)
    second = read(dump_study(first.study))
    assert second.study == first.study
    assert second.arms == first.arms
    assert dump_study(second.study) == dump_study(first.study)


def test_a_dumped_study_always_says_its_seeds_and_baseline(read):
    assert "seeds:\n  - 42\nbaseline: base\n" in dump_study(read(STUDY).study).replace(
        "tasks:\n  - task: classification\n", ""
    )


def test_differing_settings_are_those_in_which_arms_differ(read):
    loaded = read(STUDY.replace("  full: {adapter: null, learning_rate: 1e-5}\n", ""))
    assert differing_settings(loaded.arms) == {"peft_use_dora": {"lora": False, "dora": True}}
    assert differing_settings(loaded.arms[:1]) == {}


def test_arms_with_the_same_settings_are_noted(read):
    loaded = read(STUDY.replace("dora: {peft_use_dora: true}", "dora: {peft_use_dora: false}"))
    assert any("same settings" in note for note in loaded.notes)


def test_a_file_with_study_or_arms_is_a_study_and_any_other_a_recipe(tmp_path):
    file = tmp_path / "file.yaml"
    file.write_text(BASE + "datasets: [{path: x}]\n")
    assert isinstance(load_any(file), LoadedRecipe)
    file.write_text(STUDY)
    assert isinstance(load_any(file, ["seeds=[5]"]), LoadedStudy)
    file.write_text("arms: {a: {}}\n")
    with pytest.raises(RecipeError, match="`study` is missing"):
        load_any(file)
