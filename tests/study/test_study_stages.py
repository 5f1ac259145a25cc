"""A study whose arms train on from one another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from driven_study import Driven
from safetensors.torch import load_file, save_file

from luthier.errors import OutputError
from luthier.recipe.load import load_recipe


@pytest.fixture
def staged_text(study_text: str) -> str:
    return study_text.replace(
        "seeds: [3]",
        "  second: {after: lora, adapter: lora, lora_r: 2, lora_alpha: 4,"
        " lora_target_linear: true}\nseeds: [3, 4]",
    ).replace("tasks: [classification, perplexity]", "tasks: [classification]")


def test_a_stage_starts_from_the_run_of_its_own_seed(
    driven: Callable[[str], Driven], staged_text: str
) -> None:
    study = driven(staged_text)
    study.run()
    for seed in (3, 4):
        planned = load_recipe(study.folder / f"second/seed-{seed}/planned.yaml").recipe
        assert Path(planned.base_model) == (study.folder / f"lora/seed-{seed}").resolve()
        assert (study.folder / f"second/seed-{seed}/eval/classification.json").exists()
    study.run()
    assert study.said == [
        f"{run}: already done"
        for run in ("base", *(f"{a} seed {s}" for a in ("full", "lora", "second") for s in (3, 4)))
    ]


def test_a_stage_whose_first_stage_failed_says_so(
    driven: Callable[[str], Driven], staged_text: str
) -> None:
    study = driven(staged_text.replace("lora_r: 2,", "lora_r: 2, lora_target_modules: nothing,", 1))
    outcome = study.run()
    assert {run.title for run in outcome.failed} >= {"lora seed 3", "second seed 3"}
    error = json.loads((study.folder / "second/seed-3/error.json").read_text())
    assert error["message"] == (
        "second seed 3 trains on from lora seed 3, which failed. Mend that run first."
    )


@pytest.fixture
def chain_text(study_text: str) -> str:
    lora = "adapter: lora, lora_r: 2, lora_alpha: 4, lora_target_linear: true"
    return study_text.replace("  full: {}\n", "").replace(
        "seeds: [3]",
        f"  second: {{after: lora, {lora}}}\n  third: {{after: second, {lora}}}\nseeds: [3]",
    )


def read_base_digest(run: Path) -> str:
    return json.loads((run / "provenance.json").read_text())["model"]["sha256"]


def test_a_mended_stage_takes_all_that_came_after_it_with_it(
    driven: Callable[[str], Driven], chain_text: str
) -> None:
    study = driven(chain_text)
    study.run()
    before = read_base_digest(study.folder / "second/seed-3")
    # As when a task that was added later failed in a run that is done.
    (study.folder / "lora/seed-3/error.json").write_text(
        json.dumps({"error": "ModelError", "message": "", "traceback": ""})
    )
    study.file.write_text(study.file.read_text().replace("lora: {", "lora: {warmup_ratio: 0.5, "))
    study.file.write_text(study.file.read_text().replace("lora_alpha: 4", "lora_alpha: 64", 1))
    assert not study.run().failed
    assert study.worked == ["lora --seed 3", "second --seed 3", "third --seed 3"]
    assert "third seed 3: it stands on second seed 3; starting it anew too" in study.said
    assert read_base_digest(study.folder / "second/seed-3") != before


def change_result(run: Path) -> None:
    """Give a run other weights, as a run that was trained anew elsewhere."""
    (file,) = (run / "adapter").glob("*.safetensors")
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)


def test_a_run_on_other_weights_than_its_stage_has_now_is_not_done(
    driven: Callable[[str], Driven], chain_text: str
) -> None:
    study = driven(chain_text)
    study.run()
    change_result(study.folder / "lora/seed-3")
    with pytest.raises(OutputError, match=r"second seed 3 trained on from lora seed 3.*Delete "):
        study.run()
    shutil.rmtree(study.folder / "second/seed-3")
    assert [run.title for run in study.run().failed] == ["third seed 3"]
    assert study.worked == ["second --seed 3"]
    error = json.loads((study.folder / "third/seed-3/error.json").read_text())
    assert f"Delete {study.folder / 'third/seed-3'}" in error["message"]
    with pytest.raises(OutputError, match="third seed 3 trained on from second seed 3"):
        study.run()
    shutil.rmtree(study.folder / "third/seed-3")
    assert not study.run().failed
    assert study.worked == ["third --seed 3"]


def test_a_stage_that_is_trained_anew_with_the_same_weights_changes_nothing_after_it(
    driven: Callable[[str], Driven], chain_text: str
) -> None:
    study = driven(chain_text)
    study.run()
    shutil.rmtree(study.folder / "lora/seed-3")
    assert not study.run().failed
    assert study.worked == ["lora --seed 3"]
