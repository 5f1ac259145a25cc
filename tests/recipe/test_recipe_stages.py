"""Arms that train on from another arm."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.errors import RecipeError
from luthier.recipe.load_study import load_study
from luthier.recipe.study import LoadedStudy, dump_study

STUDY = """\
study: stages
data: {generate: elle}
sample: {train: 10, test: 5}
base: {base_model: embedded, learning_rate: 1e-3, adapter: lora, lora_r: 4, lora_alpha: 8,
  lora_target_linear: true}
arms:
  sft: {}
  polish: {after: sft, learning_rate: 1e-4}
tasks: [elle]
"""


def load(tmp_path: Path, text: str) -> LoadedStudy:
    file = tmp_path / "study.yaml"
    file.write_text(text, encoding="utf-8")
    return load_study(file)


def test_an_arm_knows_the_arm_it_comes_after(tmp_path: Path) -> None:
    loaded = load(tmp_path, STUDY)
    assert [(arm.name, arm.after) for arm in loaded.arms] == [("sft", None), ("polish", "sft")]
    assert load(tmp_path, dump_study(loaded.study)).arms == loaded.arms


def test_with_a_grid_it_comes_after_the_cell_with_the_same_values(tmp_path: Path) -> None:
    loaded = load(tmp_path, STUDY + "grid: {num_epochs: [1, 2]}\n")
    assert {arm.name: arm.after for arm in loaded.arms if arm.after} == {
        "polish-num_epochs=1": "sft-num_epochs=1",
        "polish-num_epochs=2": "sft-num_epochs=2",
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("after: sft", "after: sftt", "did you mean `sft`?"),
        ("after: sft", "after: polish", "List that arm above this one."),
        ("after: sft", "after: sft, base_model: x", "Keep one; `after` brings the model."),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load(tmp_path, STUDY.replace(old, new))
    assert raised.value.problems[0].mend == expected
