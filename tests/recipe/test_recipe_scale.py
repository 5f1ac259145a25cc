"""A study's scales: the same study at another size."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.errors import RecipeError
from luthier.recipe.load_study import load_any, load_study
from luthier.recipe.study import LoadedStudy, dump_study

STUDY = """\
study: methods
data: {generate: elle, style: full, seed: 7}
sample: {train: 10000, test: 500}
base: {base_model: Qwen/Qwen2.5-72B-Instruct, learning_rate: 1e-4, num_epochs: 3}
arms:
  full: {}
  lora: {adapter: lora, lora_r: 32, lora_alpha: 64, lora_target_linear: true}
tasks: [elle]
scales:
  embedded:
    data: {style: compact}
    sample: {train: 300, test: 100}
    base: {base_model: embedded, learning_rate: 2e-3}
    arms:
      lora: {lora_r: 8}
"""


def load(tmp_path: Path, text: str = STUDY, scale: str | None = None) -> LoadedStudy:
    file = tmp_path / "study.yaml"
    file.write_text(text, encoding="utf-8")
    return load_study(file, (), scale)


def test_without_a_name_the_scales_are_left_aside(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.study.study == "methods"
    assert loaded.study.sample.train == 10_000
    assert loaded.arms[1].recipe.lora_r == 32


def test_a_scale_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    loaded = load(tmp_path, scale="embedded")
    assert loaded.study.study == "methods-embedded"
    assert (loaded.study.sample.train, loaded.study.sample.test) == (300, 100)
    assert loaded.study.data is not None
    assert (loaded.study.data.style, loaded.study.data.seed) == ("compact", 7)
    full, lora = (arm.recipe for arm in loaded.arms)
    assert (full.base_model, full.learning_rate, full.num_epochs) == ("embedded", 2e-3, 3)
    assert (lora.lora_r, lora.lora_alpha) == (8, 64)


def test_a_scale_is_laid_over_a_base_recipe_in_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "base_model: Qwen/Qwen2.5-72B-Instruct\nlearning_rate: 1e-4\nnum_epochs: 3\n"
    )
    lines = STUDY.splitlines(keepends=True)
    text = "".join("base: base.yaml\n" if line.startswith("base:") else line for line in lines)
    full = load(tmp_path, text, "embedded").arms[0].recipe
    assert (full.base_model, full.learning_rate, full.num_epochs) == ("embedded", 2e-3, 3)


def test_the_scaled_study_reads_back_from_its_own_file(tmp_path: Path) -> None:
    scaled = load(tmp_path, scale="embedded")
    again = load(tmp_path, dump_study(scaled.study))
    assert again.study == scaled.study
    assert again.arms == scaled.arms


def test_a_mistake_inside_a_scale_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        load(tmp_path, STUDY.replace("lora: {lora_r: 8}", "lora: {lora_rank: 8}"), "embedded")
    problem = raised.value.problems[0]
    assert "lora_rank" in problem.what
    assert problem.line == len(STUDY.splitlines())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("embeded", "did you mean `embedded`?"), ("tiny", "Write one of `embedded`.")],
)
def test_an_unknown_scale_is_refused_with_the_nearest(
    tmp_path: Path, name: str, expected: str
) -> None:
    with pytest.raises(RecipeError) as raised:
        load(tmp_path, scale=name)
    assert expected in raised.value.problems[0].mend


def test_a_study_without_scales_and_a_recipe_refuse_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has no `scales`"):
        load(tmp_path, STUDY[: STUDY.index("scales:")], "embedded")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("base_model: embedded\nlearning_rate: 1e-3\ndatasets: [{path: x.jsonl}]\n")
    with pytest.raises(RecipeError, match="a recipe has no scales"):
        load_any(recipe, (), "embedded")
