"""What `luthier check` prints: a valid file, or mistakes that fit 80 columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.errors import RecipeError
from luthier.recipe import load_any
from luthier.recipe.render import (
    checked_as_json,
    mistakes_as_json,
    render_checked,
    render_mistakes,
)

RECIPE = "base_model: embedded\nlearning_rate: 1e-4\ndatasets: [{path: x, type: sharegpt}]\n"
STUDY = (
    "study: s\ndata: x\nbase: {base_model: embedded, learning_rate: 1}\n"
    "arms: {a: {}, b: {learning_rate: 2}}\nseeds: [1, 2]\ntasks: [perplexity]\n"
)


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "file.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("text", [RECIPE, STUDY])
def test_the_normal_form_that_is_shown_is_a_file_that_loads_the_same(tmp_path, text):
    loaded = load_any(write(tmp_path, text))
    again = load_any(write(tmp_path, render_checked(loaded)))
    assert again == loaded


def test_a_study_says_how_many_runs_it_is(tmp_path):
    text = render_checked(load_any(write(tmp_path, STUDY)))
    assert "# 2 arms × 2 seeds: 4 runs, and the untouched model, scored on 1 task." in text


def test_mistakes_fit_80_columns_and_keep_every_line_number(tmp_path):
    with pytest.raises(RecipeError) as caught:
        load_any(write(tmp_path, RECIPE + "lora_use_dorra: true\nfp16: true\nrl: kto\n"), ["a"])
    text = render_mistakes(caught.value)
    body = text.split("\n", 1)[1]
    assert all(len(line) <= 80 for line in body.splitlines())
    for part in ("4 mistakes", "line 4  ", "line 5  ", "line 6  ", "--set a"):
        assert part in text
    as_json = json.loads(json.dumps(mistakes_as_json(caught.value)))
    assert as_json["ok"] is False
    assert as_json["problems"][0] == {
        "key": "lora_use_dorra",
        "line": 4,
        "what": "unknown key `lora_use_dorra`",
        "mend": "did you mean `lora_use_dora`, now `peft_use_dora`?",
    }


def test_the_json_form_holds_the_normal_form(tmp_path):
    file = write(tmp_path, STUDY)
    as_json = json.loads(json.dumps(checked_as_json(str(file), load_any(file))))
    assert (as_json["ok"], as_json["kind"]) == (True, "study")
    assert as_json["arms"]["b"]["learning_rate"] == 2
    assert as_json["differing_settings"] == {"learning_rate": {"a": 1, "b": 2}}
    file = write(tmp_path, RECIPE)
    as_json = json.loads(json.dumps(checked_as_json(str(file), load_any(file))))
    assert (as_json["kind"], as_json["recipe"]["base_model"]) == ("recipe", "embedded")
    assert as_json["notes"] == ["`type: sharegpt` is read as messages."]
