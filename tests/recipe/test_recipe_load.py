"""Recipes: what is read, what is refused, and where each mistake points."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from luthier.errors import Problem, RecipeError
from luthier.recipe import dump_recipe, load_recipe, parse_recipe
from luthier.recipe.load import LoadedRecipe

SMALLEST = """\
base_model: embedded
learning_rate: 1e-4
datasets:
  - path: rows.jsonl
"""
LORA = SMALLEST + "adapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_linear: true\n"


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str, *overrides: str) -> LoadedRecipe:
        file = tmp_path / "recipe.yaml"
        file.write_text(text, encoding="utf-8")
        return load_recipe(file, overrides)

    return read


def only(problems: tuple[Problem, ...]) -> Problem:
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def test_the_smallest_recipe_has_the_documented_defaults(read):
    recipe, notes = read(SMALLEST)
    assert notes == ()
    assert recipe.learning_rate == 1e-4
    assert (recipe.lr_scheduler, recipe.optimizer) == ("cosine", "adamw_torch_fused")
    assert (recipe.seed, recipe.sequence_len, recipe.bf16) == (42, 2048, "auto")
    assert recipe.datasets[0].type == "chat_template"
    assert recipe.datasets[0].roles_to_train == ("assistant",)


def test_eval_batch_size_follows_micro_batch_size(read):
    assert read(SMALLEST + "micro_batch_size: 4\n").recipe.eval_batch_size == 4
    text = SMALLEST + "micro_batch_size: 4\neval_batch_size: 2\n"
    assert read(text).recipe.eval_batch_size == 2


def test_a_recipe_cannot_be_changed_after_loading(read):
    with pytest.raises(ValueError, match="frozen"):
        read(SMALLEST).recipe.seed = 1


def test_the_unknown_key_of_the_manual_gets_the_answer_of_the_manual(mistakes):
    problem = only(mistakes(LORA + "lora_use_dorra: true\n"))
    assert str(problem) == (
        "line 9: unknown key `lora_use_dorra`: did you mean `lora_use_dora`, now `peft_use_dora`?"
    )
    assert (problem.key, problem.line) == ("lora_use_dorra", 9)


def test_a_key_like_no_other_gets_no_guess(mistakes):
    assert "did you mean" not in str(only(mistakes(SMALLEST + "zzzz: 1\n")))


def test_an_old_name_is_accepted_with_a_note(read):
    recipe, notes = read(LORA + "lora_use_dora: true\nnoisy_embedding_alpha: 5\n")
    assert recipe.peft_use_dora
    assert recipe.neftune_noise_alpha == 5
    assert notes == (
        "`lora_use_dora` is now `peft_use_dora`.",
        "`noisy_embedding_alpha` is now `neftune_noise_alpha`.",
    )


def test_old_and_new_name_together_are_a_mistake(mistakes):
    problem = only(mistakes(LORA + "lora_use_dora: true\npeft_use_dora: true\n"))
    assert (problem.key, problem.line) == ("lora_use_dora", 9)


@pytest.mark.parametrize(
    "line", ["fsdp_config: {x: 1}", "hub_model_id: me/model", "context_parallel_size: 2"]
)
def test_a_technique_of_a_later_version_is_refused_as_not_yet(mistakes, line):
    problem = only(mistakes(SMALLEST + line + "\n"))
    assert "not yet available" in problem.what
    assert problem.line == 5
    assert problem.mend


@pytest.mark.parametrize(
    "line",
    [
        "load_in_4bit: false",
        "load_in_8bit: no",
        "relora_steps:",
        "relora: false",
        "relora_cpu_offload: false",
        "optim_args:",
        "optim_target_modules: []",
        "rl:",
        "rl: false",
        "deepspeed: ''",
        "hub_model_id: null",
        "push_to_hub: false",
        "strict: false",
        "model_type: AutoModelForCausalLM",
        "tokenizer_type: AutoTokenizer",
        "wandb_project:",
        "fp16: false",
    ],
)
def test_a_line_that_asks_for_nothing_passes_silently(read, line):
    plain = read(SMALLEST)
    assert read(SMALLEST + line + "\n").recipe.model_dump(exclude={"strict", "fp16"}) == (
        plain.recipe.model_dump(exclude={"strict", "fp16"})
    )
    assert read(SMALLEST + line + "\n").notes == ()


@pytest.mark.parametrize(
    ("line", "mend"),
    [
        ("fp16: true", "use `bf16: true`"),
        ("per_device_train_batch_size: 4", "`micro_batch_size`"),
        ("lora_rank: 4", "`lora_r`"),
        ("cutoff_len: 4", "`sequence_len`"),
        ("batch_size: 4", "`gradient_accumulation_steps`"),
        ("model_type: LlamaForCausalLM", "Leave it out"),
        ("save_safetensors: false", "Leave it out"),
        ("lr_scheduler: cosin", "Did you mean `cosine`?"),
        ("neftune_noise_alpha: 0", "leave it out"),
        ("optimizer: paged_adamw_8bit", "`optimizer: adamw_bnb_8bit`"),
        ("optimizer: galore_adamw_layerwise", "`optimizer: galore_adamw`"),
        ("optimizer: galore_adafactor", "`optimizer: galore_adamw_8bit`"),
        ("optimizer: ao_adamw_8bit", "`optimizer: adamw_bnb_8bit`"),
        ("optimizer: galore_adam", "Did you mean `galore_adamw`?"),
        ("bnb_4bit_compute_dtype: float16", "`bnb_4bit_compute_dtype: bfloat16`"),
        ("relora_cpu_offload: true", "Leave it out"),
        ("loraplus_lr_embedding: 1e-6", "`loraplus_lr_ratio`"),
        ("rl: grpo", "`rl: dpo`"),
        ("rl: dppo", "Did you mean `dpo`?"),
        ("gptq: true", "`load_in_4bit: true`"),
        ("deepspeed: 3", ""),
        ("relora_prune_ratio: 0", ""),
        ("chat_template: llama3", "`tokenizer_default`"),
        ("special_tokens: {pd_token: x}", "`pad_token`"),
        ("gradient_checkpointing: offload", ""),
        ("lora_dropout: 1.0", ""),
        ("num_epochs: 0", ""),
        ("val_set_size: 1.5", ""),
        ("max_grad_norm: -1", ""),
        ("micro_batch_size: true", ""),
        ("micro_batch_size: 2.5", ""),
        ("weight_decay: .nan", ""),
        ("weight_decay: .inf", ""),
        ("seed: -1", ""),
        ("bf16: maybe", ""),
        ("report_to: [tensorbord]", ""),
        ("datasets_: []", "`datasets`"),
    ],
)
def test_each_refused_line_is_one_mistake_with_its_line_and_mend(mistakes, line, mend):
    problem = only(mistakes(SMALLEST + line + "\n"))
    assert problem.line == 5
    assert mend in problem.mend


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("adapter: lora\nlora_alpha: 8\nlora_target_linear: true", "adapter"),
        ("adapter: lora\nlora_r: 8\nlora_target_linear: true", "adapter"),
        ("adapter: lora\nlora_r: 8\nlora_alpha: 8", "adapter"),
        ("lora_r: 8", "lora_r"),
        ("peft_use_dora: true", "peft_use_dora"),
        ("loraplus_lr_ratio: 16", "loraplus_lr_ratio"),
        ("warmup_steps: 5\nwarmup_ratio: 0.1", "warmup_ratio"),
        ("lr_scheduler: linear\ncosine_min_lr_ratio: 0.1", "cosine_min_lr_ratio"),
        ("eval_steps: 5", "eval_steps"),
        ("early_stopping_patience: 5", "early_stopping_patience"),
        ("val_set_size: 0.1\neval_steps: 5\nevals_per_epoch: 2", "evals_per_epoch"),
        ("save_steps: 5\nsaves_per_epoch: 2", "saves_per_epoch"),
        ("val_set_size: 0.1\ntest_datasets: [{path: x}]", "test_datasets"),
        ("max_steps: 10\nsave_steps: 11", "save_steps"),
        ("max_steps: 10\nval_set_size: 9\neval_steps: 11", "eval_steps"),
        ("max_steps: 10\nwarmup_steps: 10", "warmup_steps"),
        ("flash_attention: true\nsdp_attention: true", "sdp_attention"),
        ("flash_attention: true\nattn_implementation: sdpa", "attn_implementation"),
        ("use_wandb: false\nreport_to: [wandb]", "use_wandb"),
        ("gradient_checkpointing_kwargs: {use_reentrant: true}", "gradient_checkpointing_kwargs"),
    ],
)
def test_keys_that_contradict_each_other_are_one_mistake(mistakes, lines, key):
    problem = only(mistakes(SMALLEST + lines + "\n"))
    assert problem.key == key
    assert problem.line is not None
    assert problem.mend


def test_a_step_cadence_at_the_last_step_fires(read):
    assert read(SMALLEST + "max_steps: 10\nsave_steps: 10\n").recipe.save_steps == 10


def test_missing_keys_are_named_with_a_value_to_start_from(mistakes):
    found = {problem.key: problem.mend for problem in mistakes("seed: 1\n")}
    assert set(found) == {"base_model", "datasets", "learning_rate"}
    assert "1e-5" in found["learning_rate"]
    lora = mistakes("adapter: lora\n")
    assert "2e-4" in next(p.mend for p in lora if p.key == "learning_rate")


def test_all_mistakes_come_at_once_in_the_order_of_the_file(mistakes):
    text = """\
base_model: 3
adapter: lora
lora_r: eight
learning_rate: -1
datasets:
  - path: a
    splitt: x
    type: {field_instruct: q}
  - path: b
    type: alpacca
  - split: train
  - words
fp16: true
rl: kto
warmup_steps: 1
warmup_ratio: 0.5
"""
    found = mistakes(text)
    assert [(problem.line, problem.key) for problem in found] == [
        (1, "base_model"),
        (2, "adapter"),
        (2, "adapter"),
        (3, "lora_r"),
        (4, "learning_rate"),
        (7, "datasets[0].splitt"),
        (8, "datasets[0].type.field_instruct"),
        (10, "datasets[1].type"),
        (11, "datasets[2]"),
        (12, "datasets[3]"),
        (13, "fp16"),
        (14, "rl"),
        (16, "warmup_ratio"),
    ]


def test_the_error_is_a_value_error_that_prints_every_mistake(read):
    with pytest.raises(ValueError, match=r"recipe\.yaml: 2 mistakes") as caught:
        read(SMALLEST + "a: 1\nb: 2\n")
    assert "line 5" in str(caught.value)
    assert "line 6" in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "part"),
    [
        ("{path: x, generate: elle}", "both given"),
        ("{path: x, level: cic}", "without `generate`"),
        ("{generate: elle, type: alpaca}", "conversations"),
        ("{path: x, roles_to_train: []}", "no role is trained"),
        ("{path: x, message_property_mappings: {rol: from}}", "`rol`"),
        ("{path: x, columns: {label: 0, text: body}}", "mixed"),
        ("{path: x, columns: {text: -1}}", "below 0"),
        ("{path: x, type: classification, columns: {text: 1}}", "no `label`"),
        ("{path: x, columns: {text: 1}, prompt: 'Read {body}'}", "`{body}`"),
        ("{path: x, prompt: 'Read {'}", "cannot be read"),
        ("{path: x, prompt: 'Read {}'}", "empty braces"),
        ("{path: x, conversation: vicuna}", "`chatml`"),
        ("{path: x, field_chosen: a}", "no pairs"),
        ("{path: x, field_tools: a}", "not yet available"),
        ("{path: x, ds_type: xlsx}", "`csv`"),
    ],
)
def test_each_mistake_inside_a_dataset_is_named(mistakes, dataset, part):
    text = f"base_model: embedded\nlearning_rate: 1\ndatasets:\n  - {dataset}\n"
    problem = only(mistakes(text))
    assert part in str(problem)
    assert problem.line == 4
    assert problem.key.startswith("datasets[0]")


def test_legacy_message_fields_become_one_mapping(read):
    text = SMALLEST + "    message_field_role: from\n    message_field_content: value\n"
    recipe, notes = read(text)
    assert recipe.datasets[0].message_property_mappings == {"role": "from", "content": "value"}
    assert len(notes) == 2


def test_sharegpt_and_padding_are_noted(read):
    notes = read(SMALLEST + "    type: sharegpt\npad_to_sequence_len: true\n").notes
    assert any("sharegpt" in note for note in notes)
    assert any("no padding" in note for note in notes)


def test_labels_that_look_like_numbers_or_truth_values_stay_text(read):
    text = SMALLEST + "    type: classification\n    label_words: {0: no, 1: yes, true: 7}\n"
    assert read(text).recipe.datasets[0].label_words == {"0": "no", "1": "yes", "true": "7"}


def test_a_tracker_is_implied_by_its_own_keys_unless_it_is_switched_off(read):
    assert read(SMALLEST + "wandb_project: x\n").recipe.report_to == ("wandb",)
    assert read(SMALLEST + "use_tensorboard: true\n").recipe.report_to == ("tensorboard",)
    assert read(SMALLEST + "wandb_project: x\nuse_wandb: no\n").recipe.report_to == ()
    both = read(SMALLEST + "report_to: mlflow\nwandb_mode: offline\n").recipe.report_to
    assert both == ("mlflow", "wandb")


def test_axolotls_split_jinja_template_is_put_together(read):
    text = SMALLEST + "chat_template: jinja\nchat_template_jinja: '{{ messages }}'\n"
    assert read(text).recipe.chat_template == "{{ messages }}"


# The file itself


@pytest.mark.parametrize(
    ("content", "what", "line"),
    [
        (b"", "empty", None),
        (b"# nothing\n", "empty", None),
        (b"- a\n- b\n", "a list", 1),
        (b"word\n", "a single value", 1),
        (b"a: 1\nb: \xff\n", "UTF-8", 2),
        (b"a: 1\n\tb: 2\n", "a tab", 2),
        (b"a: [1, 2\nb: 3\n", "not valid YAML", 2),
        (b"a: 1\n--- \nb: 2\n", "not valid YAML", 2),
        (b"a: 1\nb: \x01\n", "does not allow", 2),
    ],
)
def test_a_file_that_is_no_recipe_says_why_and_where(tmp_path, content, what, line):
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    problem = only(caught.value.problems)
    assert what in problem.what
    assert problem.line == line


def test_no_such_file_is_a_recipe_error(tmp_path):
    with pytest.raises(RecipeError, match="no such file"):
        load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(RecipeError, match="cannot read"):
        load_recipe(tmp_path)


def test_a_duplicate_key_names_both_lines(mistakes):
    problem = only(mistakes(SMALLEST + "seed: 1\nseed: 2\n"))
    assert problem.line == 6
    assert "line 5" in problem.what
    nested = only(mistakes(SMALLEST + "    split: a\n    split: b\n"))
    assert (nested.line, nested.key) == (6, "datasets[0].split")


def test_anchors_and_merges_are_followed(read):
    text = SMALLEST + "  - &one {path: a, split: x}\n  - {<<: *one, path: b}\n"
    second = read(text).recipe.datasets[2]
    assert (second.path, second.split) == ("b", "x")


def test_an_alias_of_itself_ends_in_an_error(mistakes):
    assert "alias" in str(mistakes(SMALLEST + "special_tokens: &a {pad_token: *a}\n")[0])


def test_a_tag_that_would_run_code_is_refused(mistakes):
    found = mistakes(SMALLEST + "seed: !!python/object/apply:os.system ['true']\n")
    assert found[0].line == 5


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(SMALLEST, encoding="utf-8-sig")
    assert load_recipe(file).recipe.base_model == "embedded"


# --set


def test_set_changes_a_value_as_yaml_reads_it(read):
    recipe = read(SMALLEST, "learning_rate=5e-4", "report_to=[wandb]", "output_dir=a=b").recipe
    assert recipe.learning_rate == 5e-4
    assert recipe.report_to == ("wandb",)
    assert recipe.output_dir == "a=b"


def test_set_reaches_into_lists_and_makes_what_is_absent(read):
    recipe = read(
        SMALLEST,
        "datasets.0.path=other.jsonl",
        "datasets.1.path=more.jsonl",
        "datasets.0.label_words.0=World",
        "special_tokens.pad_token=<pad>",
    ).recipe
    assert [source.path for source in recipe.datasets] == ["other.jsonl", "more.jsonl"]
    assert recipe.datasets[0].label_words == {"0": "World"}
    assert recipe.special_tokens == {"pad_token": "<pad>"}


def test_set_can_mend_a_mistake_of_the_file(read):
    assert read(SMALLEST + "fp16: true\n", "fp16=false").recipe.fp16 is False
    assert read(SMALLEST + "rl: kto\n", "rl=").recipe.base_model == "embedded"


def test_set_replaces_the_same_setting_under_its_other_name(read):
    assert not read(LORA + "lora_use_dora: true\n", "peft_use_dora=false").recipe.peft_use_dora
    assert read(LORA + "peft_use_dora: false\n", "lora_use_dora=true").recipe.peft_use_dora


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("seed", "no `=`"),
        ("=3", "no key"),
        ("a..b=3", "no key"),
        ("seed=[1", "not valid YAML"),
        ("seed=many", "whole number"),
        ("sead=3", "did you mean `seed`?"),
        ("datasets.7.path=x", "the list has 1"),
        ("datasets.x.path=x", "not a list index"),
        ("base_model.name=x", "inside a single value"),
        ("datasets.0.pth=x", "did you mean `path`?"),
    ],
)
def test_a_mistake_in_set_names_it_and_has_no_line(mistakes, override, part):
    problem = only(mistakes(SMALLEST, override))
    assert problem.what.startswith(f"--set {override}: ")
    assert part in str(problem)
    assert problem.line is None


# Writing back


FULL = """\
base_model: embedded
adapter: lora
lora_r: 8
lora_alpha: 16
lora_target_modules: [q_proj, v_proj]
peft_use_dora: true
loraplus_lr_ratio: 16
learning_rate: 2e-4
chat_template: "{{ bos }}\\n  {% for m in messages %}x{% endfor %}\\n"
special_tokens: {pad_token: "no", eos_token: "1e-4"}
val_set_size: 0.05
eval_steps: 5
micro_batch_size: 4
eval_batch_size: 8
sample_packing: true
eval_sample_packing: false
adam_epsilon: 1e-12
wandb_project: on
report_to: [tensorboard]
bf16: true
datasets:
  - path: rows.csv
    type: classification
    columns: {label: 0, text: [1, 2]}
    label_words: {1: World, 2: "yes"}
    prompt: |
      {text}

      Topic: {label}
  - generate: elle
    level: cic
    count: 20
  - path: more.jsonl
    type: {field_output: answer, format: "{instruction}\\n{input}"}
    roles: {assistant: [gpt, model]}
    roles_to_train: [assistant, tool]
"""


@pytest.mark.parametrize("text", [SMALLEST, LORA, FULL])
def test_a_dumped_recipe_loads_as_the_same_recipe(read, text):
    recipe = read(text).recipe
    assert read(dump_recipe(recipe)).recipe == recipe
    assert dump_recipe(read(dump_recipe(recipe)).recipe) == dump_recipe(recipe)


def test_a_dump_holds_what_differs_from_the_defaults_and_what_is_required(read):
    text = SMALLEST + "seed: 42\nlr_scheduler: cosine\nwarmup_steps: 3\n"
    assert dump_recipe(read(text).recipe) == (
        "base_model: embedded\n"
        "datasets:\n  - path: rows.jsonl\n"
        "learning_rate: 0.0001\n"
        "warmup_steps: 3\n"
    )


def test_a_mapping_can_be_parsed_without_a_file():
    values = {"base_model": "embedded", "datasets": [{"path": "x"}], "learning_rate": 1e-4}
    assert parse_recipe(values, ["seed=7"]).recipe.seed == 7
    assert "seed" not in values
    with pytest.raises(RecipeError, match="unknown key"):
        parse_recipe({**values, "sead": 7})


def test_importing_the_room_loads_neither_torch_nor_numpy():
    code = (
        "import sys, luthier.recipe, luthier.recipe.render;"
        "print([m for m in ('torch', 'transformers', 'numpy', 'datasets') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"
