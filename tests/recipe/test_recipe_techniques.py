"""What goes together and what does not, technique by technique, and the values that follow."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.recipe import LoadedRecipe, load_study, parse_recipe
from luthier.recipe.resolve import (
    preference_beta,
    quantised_bits,
    resolve_bf16,
    resolve_projection,
    restart_points,
)
from luthier.recipe.yaml_text import parse_yaml

SFT = "base_model: embedded\nlearning_rate: 1e-4\ndatasets: [{path: rows.jsonl}]\n"
PAIRS = "base_model: embedded\nlearning_rate: 1e-4\ndatasets: [{path: x, type: preference}]\n"
LORA = "adapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_linear: true\n"
QLORA = LORA.replace("adapter: lora", "adapter: qlora") + "load_in_4bit: true\n"
GALORE = "optimizer: galore_adamw\ngalore_rank: 8\n"
RELORA = LORA + "relora: true\nrelora_iterations: 3\n"


@pytest.fixture
def read():
    def read(text: str, *overrides: str) -> LoadedRecipe:
        values: dict[str, Any] = parse_yaml(text, "recipe").value
        return parse_recipe(values, overrides)

    return read


@pytest.mark.parametrize(
    ("text", "names"),
    [
        # Quantisation
        (SFT + "load_in_4bit: true", ("load_in_4bit", "adapter")),
        (SFT + "load_in_8bit: true", ("load_in_8bit", "adapter")),
        (SFT + QLORA + "load_in_8bit: true", ("load_in_4bit", "load_in_8bit")),
        (SFT + QLORA.replace("load_in_4bit: true", ""), ("adapter: qlora", "load_in_4bit")),
        (
            SFT + QLORA.replace("load_in_4bit: true", "load_in_8bit: true"),
            ("adapter: qlora", "load_in_8bit"),
        ),
        (SFT + LORA + "bnb_4bit_quant_type: nf4", ("bnb_4bit_quant_type", "load_in_4bit")),
        (
            SFT + QLORA + "bf16: false\nbnb_4bit_compute_dtype: bfloat16",
            ("bf16", "bnb_4bit_compute_dtype"),
        ),
        (
            SFT + QLORA + "bf16: true\nbnb_4bit_compute_dtype: float32",
            ("bf16", "bnb_4bit_compute_dtype"),
        ),
        # Optimizers
        (SFT + GALORE + LORA, ("galore_adamw", "adapter")),
        (SFT + LORA + "optimizer: apollo_mini_adamw", ("apollo_mini_adamw", "adapter")),
        (SFT + LORA + "optimizer: fira_adamw\nfira_rank: 4", ("fira_adamw", "adapter")),
        (SFT + "optimizer: galore_adamw_8bit", ("galore_adamw_8bit", "galore_rank")),
        (SFT + "optimizer: apollo_adamw", ("apollo_adamw", "apollo_rank")),
        (SFT + "galore_rank: 8", ("galore_rank", "optimizer: adamw_torch_fused")),
        (SFT + GALORE + "fira_rank: 8", ("fira_rank", "galore_adamw")),
        (SFT + "optimizer: apollo_mini_adamw\napollo_rank: 4", ("apollo_rank", "apollo_mini")),
        (
            SFT + "optimizer: apollo_mini_adamw\napollo_scale_type: channel",
            ("apollo_scale_type", "apollo_mini"),
        ),
        # ReLoRA
        (SFT + "relora: true\nrelora_iterations: 3", ("relora", "adapter")),
        (SFT + LORA + "relora: true", ("relora_iterations", "jagged_restart_steps")),
        (SFT + RELORA + "jagged_restart_steps: 5", ("relora_iterations", "jagged_restart_steps")),
        (SFT + LORA + "jagged_restart_steps: 5", ("jagged_restart_steps", "relora")),
        (SFT + LORA + "relora_prune_ratio: 0.9", ("relora_prune_ratio", "relora")),
        (SFT + LORA + "relora: true\nrelora_iterations: 1", ("relora_iterations", "relora")),
        (
            SFT + LORA + "relora: true\nrelora_iterations: 2\njagged_restart_anneal_steps: 1",
            ("jagged_restart_anneal_steps",),
        ),
        (SFT + RELORA + "max_steps: 2", ("relora_iterations", "max_steps")),
        (
            SFT + LORA + "relora: true\njagged_restart_steps: 9\nmax_steps: 9",
            ("jagged_restart_steps", "max_steps"),
        ),
        (
            SFT + RELORA + "max_steps: 9\njagged_restart_warmup_steps: 1\n"
            "jagged_restart_anneal_steps: 2",
            ("jagged_restart_warmup_steps", "jagged_restart_anneal_steps"),
        ),
        (
            SFT + RELORA + "relora_prune_method: reset\nrelora_prune_ratio: 0.9",
            ("relora_prune_ratio", "relora_prune_method"),
        ),
        (
            SFT + RELORA + "val_set_size: 9\nearly_stopping_patience: 2",
            ("early_stopping_patience", "relora"),
        ),
        # Preferences
        (PAIRS + "rl: dpo\nsample_packing: true", ("sample_packing", "rl: dpo")),
        (PAIRS + "rl: dpo\neval_sample_packing: true", ("eval_sample_packing", "rl: dpo")),
        (PAIRS + "rl: orpo\ntrain_on_inputs: true", ("train_on_inputs", "rl: orpo")),
        (SFT + "rl: dpo", ("rl: dpo", "datasets[0]", "chat_template")),
        (PAIRS, ("datasets[0]", "preference", "`rl`")),
        (
            PAIRS + "rl: dpo\ntest_datasets: [{path: x}]",
            ("rl: dpo", "test_datasets[0]", "chat_template"),
        ),
        (SFT + "dpo_beta: 0.1", ("dpo_beta", "rl")),
        (SFT + "orpo_alpha: 0.1", ("orpo_alpha", "rl")),
        (SFT + "simpo_gamma: 1", ("simpo_gamma", "rl")),
        (PAIRS + "rl: orpo\ndpo_beta: 0.1", ("dpo_beta", "rl: orpo")),
        (PAIRS + "rl: dpo\norpo_nll: response", ("orpo_nll", "rl: dpo")),
        (PAIRS + "rl: ipo\ndpo_label_smoothing: 0.1", ("dpo_label_smoothing", "rl: ipo")),
        (PAIRS + "rl: dpo\nsimpo_gamma: 1", ("simpo_gamma", "rl: dpo")),
        (SFT + "ipo_log_ratio: sum", ("ipo_log_ratio", "`rl`", "rl: ipo")),
        (PAIRS + "rl: dpo\nipo_log_ratio: sum", ("ipo_log_ratio", "rl: dpo", "rl: ipo")),
        (PAIRS + "rl: dpo\nrl_beta: 1\ndpo_beta: 1", ("rl_beta", "dpo_beta")),
        (
            PAIRS + "rl: dpo\nprecompute_ref_log_probs: false",
            ("precompute_ref_log_probs", "adapter"),
        ),
        (
            PAIRS + RELORA + "rl: dpo\nprecompute_ref_log_probs: false",
            ("precompute_ref_log_probs", "relora"),
        ),
        (
            PAIRS.replace("preference}", "preference, roles_to_train: [user]}") + "rl: dpo",
            ("roles_to_train", "preference"),
        ),
        # The Trainer's optimizer arguments
        (SFT + "optim_args: rank=4", ("optim_args", "optimizer: adamw_torch_fused")),
        (SFT + "optim_target_modules: [q_proj]", ("optim_target_modules", "adamw_torch_fused")),
        (SFT + GALORE + "optim_args: rank=4", ("optim_args: rank", "galore_rank")),
        (SFT + GALORE + "optim_args: scael=4", ("optim_args", "scael", "`scale`")),
        (SFT + GALORE + "optim_args: {betas: 1}", ("optim_args", "betas", "adam_beta1")),
        (SFT + GALORE + "optim_args: rank", ("optim_args", "name=value")),
        (SFT + GALORE + "optim_target_modules: ['.*.attn.*']", ("optim_target_modules", ".*")),
    ],
)
def test_what_cannot_go_together_is_one_mistake_that_names_both_and_the_way_out(
    mistakes, text, names
):
    found = mistakes(text)
    assert len(found) == 1, [str(problem) for problem in found]
    for name in names:
        assert name in f"{found[0].what} {found[0].mend}"
    assert found[0].mend


@pytest.mark.parametrize(
    "text",
    [
        SFT + QLORA + "peft_use_dora: true\npeft_use_rslora: true\nloraplus_lr_ratio: 16\n",
        SFT + LORA + "load_in_8bit: true\noptimizer: adamw_bnb_8bit\nloraplus_lr_ratio: 16\n",
        SFT + RELORA + "load_in_4bit: true\nneftune_noise_alpha: 5\n",
        SFT + GALORE + "neftune_noise_alpha: 5\ngalore_svd: randomized\n",
        SFT + "optimizer: apollo_mini_adamw\napollo_rank: 1\napollo_scale_type: tensor\n",
        PAIRS + GALORE + "rl: dpo\n",
        PAIRS + QLORA + "rl: orpo\norpo_alpha: 0.2\norpo_nll: response\n",
        PAIRS + LORA + "rl: ipo\nprecompute_ref_log_probs: false\nipo_log_ratio: sum\n",
        PAIRS + RELORA + "rl: simpo\nsimpo_gamma: 0.5\nval_set_size: 9\n",
    ],
)
def test_what_goes_together_passes_without_a_note_but_that_of_4_bit_lora(read, text):
    notes = read(text).notes
    assert all("is the same as `adapter: qlora`" in note for note in notes)


def test_lora_on_a_4_bit_base_is_noted_as_qlora(read):
    recipe, notes = read(SFT + LORA + "load_in_4bit: true\n")
    assert recipe.adapter == "lora"
    assert notes == ("`adapter: lora` with `load_in_4bit: true` is the same as `adapter: qlora`.",)


def test_old_optimizer_names_are_noted(read):
    recipe, notes = read(SFT + "optimizer: adamw_8bit\n")
    assert recipe.optimizer == "adamw_bnb_8bit"
    assert notes == ("`optimizer: adamw_8bit` is now `optimizer: adamw_bnb_8bit`.",)


@pytest.mark.parametrize(
    "arguments",
    ['"rank=128, update_proj_gap=50, scale=0.5"', "{rank: 128, update_proj_gap: 50, scale: 0.5}"],
)
@pytest.mark.parametrize("family", ["galore", "fira", "apollo"])
def test_optim_args_are_the_keys_of_the_chosen_optimizer(read, family, arguments):
    text = f"optimizer: {family}_adamw\noptim_args: {arguments}\n"
    recipe, notes = read(SFT + text + "optim_target_modules: [q_proj, v_proj]\n")
    projection = resolve_projection(recipe)
    assert projection is not None
    assert projection[:4] == (family, 128, 50, 0.5)
    assert projection.target_modules == ("q_proj", "v_proj")
    assert notes == (
        f"`optim_args: rank` is now `{family}_rank`.",
        f"`optim_args: update_proj_gap` is now `{family}_update_proj_gap`.",
        f"`optim_args: scale` is now `{family}_scale`.",
        f"`optim_target_modules` is now `{family}_target_modules`.",
    )


def test_all_linear_layers_are_what_no_targets_mean(read):
    recipe, notes = read(SFT + GALORE + "optim_target_modules: all-linear\n")
    assert recipe.galore_target_modules is None
    assert "every linear layer" in notes[0]


def test_the_steps_of_relora_alone_turn_it_on(read):
    recipe, notes = read(SFT + LORA + "relora_steps: 7\nrelora_warmup_steps: 2\n")
    assert (recipe.relora, recipe.jagged_restart_steps) == (True, 7)
    assert recipe.jagged_restart_warmup_steps == 2
    assert len(notes) == 3
    assert "without `relora`" in notes[0]


def test_restarts_divide_the_run_and_never_follow_its_last_step(read):
    by_parts = read(SFT + RELORA).recipe
    assert restart_points(by_parts, 9) == (3, 6)
    assert restart_points(by_parts, 10) == (3, 6)
    assert restart_points(by_parts, 1) == ()
    by_steps = read(SFT + LORA + "relora: true\njagged_restart_steps: 3\n").recipe
    assert restart_points(by_steps, 9) == (3, 6)
    assert restart_points(by_steps, 10) == (3, 6, 9)
    assert restart_points(read(SFT).recipe, 10) == ()


def test_beta_is_the_methods_own_unless_it_is_given_under_one_of_its_names(read):
    usual = {"dpo": 0.1, "ipo": 0.1, "simpo": 2.0, "orpo": 0.1}
    for method, beta in usual.items():
        assert preference_beta(read(PAIRS + f"rl: {method}\n").recipe) == beta
        assert preference_beta(read(PAIRS + f"rl: {method}\nrl_beta: 0.7\n").recipe) == 0.7
    assert preference_beta(read(PAIRS + "rl: orpo\norpo_alpha: 0.3\n").recipe) == 0.3
    assert preference_beta(read(PAIRS + "rl: ipo\ndpo_beta: 0.3\n").recipe) == 0.3


def test_apollo_mini_has_rank_1_one_scale_per_tensor_and_128_times_the_update(read):
    mini = resolve_projection(read(SFT + "optimizer: apollo_mini_adamw\n").recipe)
    plain = resolve_projection(read(SFT + "optimizer: apollo_adamw\napollo_rank: 4\n").recipe)
    assert mini is not None
    assert plain is not None
    assert (mini.rank, mini.scale, mini.scale_type, mini.proj) == (1, 128.0, "tensor", "random")
    assert (plain.rank, plain.scale, plain.scale_type) == (4, 1.0, "channel")
    assert resolve_projection(read(SFT).recipe) is None


def test_the_compute_dtype_decides_the_precision_where_bf16_is_auto(read):
    assert resolve_bf16(read(SFT + QLORA).recipe) == "auto"
    assert resolve_bf16(read(SFT + QLORA + "bnb_4bit_compute_dtype: bfloat16\n").recipe) is True
    assert resolve_bf16(read(SFT + QLORA + "bnb_4bit_compute_dtype: torch.float32\n").recipe) is (
        False
    )
    assert quantised_bits(read(SFT + QLORA).recipe) == 4
    assert quantised_bits(read(SFT + LORA + "load_in_8bit: true\n").recipe) == 8
    assert quantised_bits(read(SFT + LORA).recipe) is None


@pytest.mark.parametrize("value", ["ds.json", "{zero_optimization: {stage: 2}}"])
def test_deepspeed_is_kept_and_noted(read, value):
    recipe, notes = read(SFT + f"deepspeed: {value}\n")
    assert recipe.deepspeed == parse_yaml(value, "value").value
    assert "several devices" in notes[0]


def test_an_arm_without_an_adapter_leaves_the_bases_adapter_keys_out(tmp_path):
    base = f"{SFT}{QLORA}relora: true\nrelora_iterations: 3\n"
    (tmp_path / "base.yaml").write_text(base)
    study = tmp_path / "study.yaml"
    study.write_text(
        "study: s\ndata: x\nbase: base.yaml\narms: {qlora: {}, full: {adapter: null}}\n"
        "seeds: [1]\ntasks: [perplexity]\n"
    )
    loaded = load_study(study)
    full = loaded.arms[1].recipe
    assert (full.adapter, full.load_in_4bit, full.relora) == (None, False, False)
    assert any("`load_in_4bit`" in note and "`relora`" in note for note in loaded.notes)


def test_an_arm_changes_the_optimizer_that_the_bases_optim_args_are_for(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(
        "study: s\ndata: x\n"
        "base: {base_model: embedded, learning_rate: 1e-4, optim_args: {rank: 4}}\n"
        "arms: {galore: {optimizer: galore_adamw}, fira: {optimizer: fira_adamw}}\n"
        "seeds: [1]\ntasks: [perplexity]\n"
    )
    galore, fira = (arm.recipe for arm in load_study(study).arms)
    assert (galore.galore_rank, galore.fira_rank) == (4, None)
    assert (fira.galore_rank, fira.fira_rank) == (None, 4)


def test_axolotls_preference_types_are_noted(read):
    text = PAIRS.replace("preference", "chat_template.argilla") + "rl: orpo\n"
    recipe, notes = read(text)
    assert recipe.datasets[0].type == "preference"
    assert notes == ("`type: chat_template.argilla` is now `type: preference`.",)
