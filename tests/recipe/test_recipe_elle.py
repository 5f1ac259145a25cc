"""The eleven recipes of the source documents pass as they are written, and each says its notes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.recipe import load_recipe

RECIPES = Path(__file__).parent.parent.parent / "studies" / "elle" / "recipes"
CHATML = "`conversation: chatml`: the chat template decides."
SHAREGPT = "`type: sharegpt` is read as messages."
DEEPSPEED = (
    "`deepspeed` is kept for training on several devices: one process has no use for it, and "
    "several do not take it yet."
)
NOTES = {
    "config_dora_neftune": (
        "`lora_use_dora` is now `peft_use_dora`.",
        "`lora_use_rslora` is now `peft_use_rslora`.",
        CHATML,
        SHAREGPT,
        DEEPSPEED,
    ),
    "config_galore": (CHATML, SHAREGPT),
    "config_relora": (
        "`relora_steps` without `relora` is read as `relora: true` too.",
        "`relora_steps` is now `jagged_restart_steps`.",
        "`relora_warmup_steps` is now `jagged_restart_warmup_steps`.",
        CHATML,
        SHAREGPT,
        DEEPSPEED,
    ),
    "config_orpo": ("`type: chat_template.argilla` is now `type: preference`.", DEEPSPEED),
    "config": (CHATML, SHAREGPT, DEEPSPEED),
    "config_qlora": (CHATML, SHAREGPT),
    "config_72b": (CHATML, SHAREGPT, DEEPSPEED),
    "config_72b_qlora": (CHATML, SHAREGPT, DEEPSPEED),
    "config_72b_8xh200": (CHATML, SHAREGPT, DEEPSPEED),
    "config_72b_math_stacked": (CHATML, SHAREGPT, DEEPSPEED),
    "config_72b_math_nf4_qlora": (CHATML, SHAREGPT, DEEPSPEED),
}
# Of the pipeline's table: model, method, epochs, learning rate.
TABLE = {
    "config": ("Qwen/Qwen2.5-7B-Instruct", None, 5, 1e-5),
    "config_qlora": ("Qwen/Qwen2.5-7B-Instruct", "qlora", 5, 2e-4),
    "config_72b": ("Qwen/Qwen2.5-72B-Instruct", None, 2, 5e-6),
    "config_72b_qlora": ("Qwen/Qwen2.5-72B-Instruct", "qlora", 3, 1e-4),
    "config_72b_8xh200": ("Qwen/Qwen2.5-72B-Instruct", None, 2, 2e-5),
    "config_72b_math_stacked": ("qwen-72b-math-v1", None, 1, 5e-6),
    "config_72b_math_nf4_qlora": ("qwen-72b-math-nf4", "qlora", 2, 1e-4),
}


def test_there_are_eleven():
    assert {file.stem for file in RECIPES.glob("*.yaml")} == set(NOTES)
    assert len(NOTES) == 11


@pytest.mark.parametrize("name", list(NOTES))
def test_each_passes_and_every_old_spelling_gives_its_note(name):
    assert load_recipe(RECIPES / f"{name}.yaml").notes == NOTES[name]


@pytest.mark.parametrize("name", list(TABLE))
def test_the_pipelines_recipes_are_what_its_table_says(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml").recipe
    method = (recipe.base_model, recipe.adapter, recipe.num_epochs, recipe.learning_rate)
    assert method == TABLE[name]
    if recipe.adapter:
        assert recipe.lora_r in (64, 128)
        assert recipe.lora_alpha == 2 * recipe.lora_r
        assert len(recipe.lora_target_modules or ()) == 7


def test_the_study_books_recipes_train_what_their_names_say():
    recipes = {name: load_recipe(RECIPES / f"{name}.yaml").recipe for name in NOTES}
    dora = recipes["config_dora_neftune"]
    assert (dora.lora_r, dora.lora_alpha, dora.loraplus_lr_ratio) == (128, 256, 16)
    assert (dora.peft_use_dora, dora.peft_use_rslora, dora.neftune_noise_alpha) == (True, True, 5)
    galore = recipes["config_galore"]
    assert (galore.adapter, galore.optimizer) == (None, "galore_adamw_8bit")
    assert (galore.galore_rank, galore.galore_update_proj_gap) == (128, 200)
    assert galore.galore_scale == 0.25
    relora = recipes["config_relora"]
    assert (relora.relora, relora.lora_r) == (True, 64)
    orpo = recipes["config_orpo"]
    assert (orpo.rl, orpo.orpo_alpha) == ("orpo", 0.1)


def test_every_deepspeed_file_that_is_named_is_there():
    for name in NOTES:
        path = load_recipe(RECIPES / f"{name}.yaml").recipe.deepspeed
        if path is not None:
            assert isinstance(path, str)
            settings = json.loads((RECIPES.parent.parent.parent / path).read_text())
            assert settings["zero_optimization"]["stage"] in (2, 3)
