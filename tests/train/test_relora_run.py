"""A run with restarts: what it writes, how it resumes, and what it goes together with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import LORA, make_recipe, read_done, read_lines, read_losses, train
from safetensors.torch import load_file
from tiny_models import save_base_model
from transformers import AutoModelForCausalLM

from luthier.errors import OutputError, RecipeError, TrainingError
from luthier.evaluate.model import load_model
from luthier.recipe.schema import Recipe
from luthier.train import loop
from luthier.train.checkpoint import Checkpoints

# Restarts after steps 3 and 6.
RELORA: dict[str, Any] = {**LORA, "relora": True, "relora_iterations": 3, "max_steps": 9}
NF4 = {"load_in_4bit": True}


class Interrupted(Exception):
    pass


def interrupt(monkeypatch: pytest.MonkeyPatch, before_step: int) -> None:
    """Let the run die before optimizer step `before_step` (0-based)."""
    take_step = loop.take_step

    def dying(parts: Any, settings: Any, step: int) -> Any:
        if step == before_step:
            raise Interrupted
        return take_step(parts, settings, step)

    monkeypatch.setattr(loop, "take_step", dying)


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_model(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model" / "model.safetensors")


def assert_same_run(output: Path, other: Path) -> None:
    for name in list_names(other / "model"):
        assert (output / "model" / name).read_bytes() == (other / "model" / name).read_bytes()
    assert read_losses(output) == read_losses(other)
    assert read_done(output)["update_rank"] == read_done(other)["update_rank"]


def die(recipe: Recipe, output: Path, before_step: int, *, resume: bool = False) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, before_step)
        with pytest.raises(Interrupted):
            train(recipe, output, resume=resume)


def test_three_parts_reach_a_rank_that_one_cannot(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    train(make_recipe(tiny_base, chat_file, **RELORA), tmp_path)
    rank = read_done(tmp_path)["update_rank"]
    assert LORA["lora_r"] < rank["smallest"] <= rank["median"] <= rank["largest"]
    assert rank["largest"] <= 3 * LORA["lora_r"]


def test_the_result_is_the_base_with_an_update_of_that_rank(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    train(make_recipe(tiny_base, chat_file, **RELORA), tmp_path)
    start = AutoModelForCausalLM.from_pretrained(tiny_base).state_dict()
    final = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    assert final.keys() == start.keys()
    for name, weight in final.items():
        moved = (weight.double() - start[name].double()).float()
        # 1e-5 lies between the rounding of float32 weights and what was learnt.
        rank = int(torch.linalg.matrix_rank(moved, atol=1e-5)) if moved.ndim == 2 else 0
        is_target = name.endswith("proj.weight")
        assert (4 < rank <= 12) if is_target else not moved.any()


def test_the_rate_is_zero_after_each_restart_and_rises_again(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    ramps = {"jagged_restart_warmup_steps": 2, "lr_scheduler": "constant"}
    train(make_recipe(tiny_base, chat_file, **RELORA, **ramps), tmp_path)
    rates = [line["learning_rate"] for line in read_lines(tmp_path)]
    assert rates == pytest.approx([0.005 * ramp for ramp in (1, 1, 1, 0, 0.5, 1, 0, 0.5, 1)])


def test_a_restart_writes_the_merged_weights_before_training_goes_on(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    die(make_recipe(tiny_base, chat_file, **RELORA, save_steps=4), tmp_path, before_step=3)
    assert list_names(tmp_path / "checkpoints") == ["merged-000003"]
    merged = load_file(tmp_path / "checkpoints" / "merged-000003" / "weights.safetensors")
    start = AutoModelForCausalLM.from_pretrained(tiny_base).state_dict()
    weights = {name: t for name, t in merged.items() if not name.startswith("rounding of ")}
    assert len(weights) == 14  # seven layers in each of two blocks, and nothing else
    for name, weight in weights.items():
        assert not torch.equal(weight, start[f"{name}.weight"])


def test_merged_weights_stay_as_long_as_a_checkpoint_names_them(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **RELORA, save_steps=4, save_total_limit=1)
    die(recipe, tmp_path, before_step=7)
    folder = tmp_path / "checkpoints"
    assert list_names(folder) == ["merged-000003", "merged-000006", "step-000004"]
    assert json.loads((folder / "step-000004" / "state.json").read_text())["base"] == (
        "merged-000003"
    )
    die(recipe, tmp_path, before_step=8, resume=True)
    assert list_names(folder) == ["merged-000006", "step-000008"]
    train(recipe, tmp_path, resume=True)
    assert not folder.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_dropout": 0.1},
        {"peft_use_dora": True, "relora_prune_method": "random"},
        {**NF4, "optimizer": "adamw_bnb_8bit", "lora_r": 90, "relora_prune_method": "reset"},
    ],
    ids=["lora", "dora", "nf4 and 8-bit moments"],
)
def test_a_run_that_died_anywhere_ends_as_one_that_did_not(
    changes: dict[str, Any], tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **{**RELORA, **changes}, save_steps=2)
    train(recipe, tmp_path / "whole")
    # Just after a restart, in the middle of a part, just after the next restart.
    for before_step in (3, 5, 6):
        output = tmp_path / f"died-{before_step}"
        die(recipe, output, before_step)
        train(recipe, output, resume=True)
        assert_same_run(output, tmp_path / "whole")


def test_dying_between_the_restart_and_its_file_repeats_the_restart(
    tiny_base: Path, chat_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **RELORA, save_steps=2)
    train(recipe, tmp_path / "whole")

    def dying(*_: Any) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save_base", dying)
        with pytest.raises(Interrupted):
            train(recipe, tmp_path / "died")
    train(recipe, tmp_path / "died", resume=True)
    assert_same_run(tmp_path / "died", tmp_path / "whole")


def test_a_checkpoint_of_another_run_brings_its_merged_weights_along(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **RELORA, save_steps=4)
    train(recipe, tmp_path / "whole")
    die(recipe, tmp_path / "first", before_step=5)
    checkpoint = tmp_path / "first" / "checkpoints" / "step-000004"
    second = recipe.model_copy(update={"resume_from_checkpoint": str(checkpoint)})
    die(second, tmp_path / "second", before_step=5)
    assert list_names(tmp_path / "second" / "checkpoints") == ["merged-000003"]
    train(second, tmp_path / "second", resume=True)
    assert read_model(tmp_path / "second").keys() == read_model(tmp_path / "whole").keys()
    for name, weight in read_model(tmp_path / "whole").items():
        assert torch.equal(read_model(tmp_path / "second")[name], weight)


def test_missing_merged_weights_are_an_error_that_names_them(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **RELORA, save_steps=4)
    die(recipe, tmp_path, before_step=5)
    (tmp_path / "checkpoints" / "merged-000003" / "weights.safetensors").unlink()
    with pytest.raises(OutputError, match=r"stands on merged weights in .*merged-000003"):
        train(recipe, tmp_path, resume=True)


COMPANIONS: dict[str, dict[str, Any]] = {
    "dora, rslora, lora+, neftune": {
        "peft_use_dora": True,
        "peft_use_rslora": True,
        "loraplus_lr_ratio": 4,
        "neftune_noise_alpha": 5,
    },
    "nf4 and all of these": {
        **NF4,
        "adapter": "qlora",
        "peft_use_dora": True,
        "peft_use_rslora": True,
        "loraplus_lr_ratio": 4,
        "neftune_noise_alpha": 5,
    },
    "8 bit": {"load_in_8bit": True},
    "bfloat16": {"bf16": True},
    "the head": {"lora_target_modules": ["lm_head"]},
    "packing": {"sample_packing": True, "gradient_accumulation_steps": 2, "micro_batch_size": 1},
}


@pytest.mark.parametrize("name", COMPANIONS)
def test_restarts_go_together_with(
    name: str, tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    changes = {**RELORA, "learning_rate": 0.01, **COMPANIONS[name]}
    recipe = make_recipe(tiny_base, chat_file, **changes, val_set_size=4)
    train(recipe, tmp_path)
    lines = read_lines(tmp_path)
    values = [line["val_loss"] for line in lines if "val_loss" in line]
    assert values[-1] < read_losses(tmp_path)[0]
    model = load_model(str(tmp_path)).causal
    assert model.dtype == torch.float32
    assert not any("lora" in name or "codes" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma", "llama", "mistral", "qwen3"])
def test_restarts_run_on(family: str, chat_file: Path, tmp_path: Path) -> None:
    base = save_base_model(tmp_path / "base", family, initializer_range=0.05)
    train(make_recipe(base, chat_file, **RELORA), tmp_path / "run")
    assert 4 < read_done(tmp_path / "run")["update_rank"]["largest"] <= 12
    losses = read_losses(tmp_path / "run")
    assert sum(losses[-3:]) < sum(losses[:3])


def test_the_validation_after_a_restart_is_that_of_the_merged_model(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    usual = {"val_set_size": 4, "eval_steps": 1, "lr_scheduler": "constant"}
    train(make_recipe(tiny_base, chat_file, **RELORA, **usual), tmp_path / "relora")
    plain = {**LORA, "max_steps": 9, **usual}
    train(make_recipe(tiny_base, chat_file, **plain), tmp_path / "lora")

    def validations(output: Path) -> list[float]:
        return [line["val_loss"] for line in read_lines(output) if "val_loss" in line]

    # The same three steps, then a merge that changes nothing, then another way.
    first, second = validations(tmp_path / "relora"), validations(tmp_path / "lora")
    assert first[:3] == pytest.approx(second[:3], rel=1e-5)
    assert first[4] != pytest.approx(second[4], rel=1e-5)


def test_a_run_too_short_for_a_restart_says_so(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    changes = {**LORA, "relora": True, "jagged_restart_steps": 50, "max_steps": None}
    recipe = make_recipe(tiny_base, chat_file, **changes, num_epochs=1)
    with pytest.raises(TrainingError, match="relora: true never restarts, the run has only 6"):
        train(recipe, tmp_path)


def test_early_stopping_is_refused(tiny_base: Path, chat_file: Path) -> None:
    with pytest.raises(RecipeError, match="early_stopping_patience"):
        make_recipe(tiny_base, chat_file, **RELORA, val_set_size=4, early_stopping_patience=2)
