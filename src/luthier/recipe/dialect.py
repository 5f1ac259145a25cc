"""The dialect as tables: keys that have a new name, that are not yet here, or are refused.

A recipe is the flat YAML that Axolotl users already have. Every key is honoured or answered by
name. A key of `NOT_YET` or `REFUSED` whose value asks for nothing (`push_to_hub: false`) passes
silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# Old name → today's name; accepted with a note. The new name may itself be not yet available.
LEGACY: Mapping[str, str] = {
    "lora_use_dora": "peft_use_dora",
    "lora_use_rslora": "peft_use_rslora",
    "noisy_embedding_alpha": "neftune_noise_alpha",
    "relora_steps": "jagged_restart_steps",
    "relora_warmup_steps": "jagged_restart_warmup_steps",
    "relora_anneal_steps": "jagged_restart_anneal_steps",
    "chat_template_jinja": "chat_template",
    "lr": "learning_rate",
}

# Key → old value → today's value; accepted with a note.
LEGACY_VALUES: Mapping[str, Mapping[str, str]] = {
    "optimizer": {
        "adamw_hf": "adamw_torch",
        "adamw": "adamw_torch",
        "adamw_8bit": "adamw_bnb_8bit",
    },
    "bnb_4bit_compute_dtype": {
        **dict.fromkeys(("bf16", "torch.bfloat16"), "bfloat16"),
        **dict.fromkeys(("fp32", "torch.float32"), "float32"),
    },
    "lr_scheduler": {"constant_with_warmup": "constant"},
    "chat_template": {"tokenizer_default_fallback_chatml": "tokenizer_default"},
}

_DEVICES = "training on several devices"
_HUB = "publishing to the hub"

# Key → the technique it belongs to, which this version does not have yet.
NOT_YET: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "fsdp",
            "fsdp_version",
            "fsdp_config",
            "fsdp_final_state_dict_type",
            "tensor_parallel_size",
            "context_parallel_size",
            "sequence_parallel_degree",
            "dp_shard_size",
            "dp_replicate_size",
            "ddp",
            "ddp_timeout",
            "ddp_bucket_cap_mb",
            "ddp_broadcast_buffers",
            "ddp_find_unused_parameters",
        ),
        _DEVICES,
    ),
    **dict.fromkeys(
        (
            "hub_model_id",
            "hub_strategy",
            "hub_revision",
            "hub_private_repo",
            "push_to_hub",
            "push_dataset_to_hub",
            "hf_use_auth_token",
        ),
        _HUB,
    ),
}


class Refused(NamedTuple):
    """Why a well-known key is not taken, and what to write instead.

    Attributes:
        why: a sentence without the key.
        mend: what to do.
        allowed: values that ask for what Luthier does anyway, besides the empty ones.
        empty_passes: whether `false`, 0 or an empty value asks for nothing.
    """

    why: str
    mend: str
    allowed: tuple[Any, ...] = ()
    empty_passes: bool = True


def _renamed(name: str) -> Refused:
    """A key of another tool; its value may mean something else there, so it is not taken over."""
    return Refused("it belongs to another tool.", f"Write `{name}`.", empty_passes=False)


_NO_QUANTISED_FILES = Refused(
    "bases quantised beforehand by this method are not offered.",
    "Name the unquantised model in `base_model` and write `load_in_4bit: true`.",
)
_NO_QUANTISED_TRAINING = Refused(
    "quantisation-aware training is not offered.",
    "Use `adapter: qlora` with `load_in_4bit: true`.",
)
_OTHER_PREFERENCES = Refused(
    "this preference method is not offered.", "Use `rl: dpo`, `ipo`, `simpo` or `orpo`."
)
_DPO_VARIANT = Refused("this variant of DPO is not offered.", "Leave it out.")
_ROLLOUTS = Refused(
    "training with rewards or generated answers is not offered.",
    "Use preference pairs: `rl: dpo` or `rl: orpo`.",
)
_LAYERWISE = "updates layer by layer cannot accumulate gradients."
_PAGED = "optimizer state is not paged."
_TORCHAO = "8-bit moments come from bitsandbytes only."
_FLOAT16 = Refused("float16 loses small gradients.", "Write `bnb_4bit_compute_dtype: bfloat16`.")


def _use(name: str, why: str) -> Refused:
    return Refused(why, f"Write `optimizer: {name}`.")


# Key → well-known value → why it is not taken.
REFUSED_VALUES: Mapping[str, Mapping[str, Refused]] = {
    "optimizer": {
        "galore_adamw_layerwise": _use("galore_adamw", _LAYERWISE),
        "galore_adamw_8bit_layerwise": _use("galore_adamw_8bit", _LAYERWISE),
        "galore_adafactor_layerwise": _use("galore_adamw", _LAYERWISE),
        "galore_adafactor": _use("galore_adamw_8bit", "GaLore works on AdamW."),
        "apollo_adamw_layerwise": _use("apollo_adamw", _LAYERWISE),
        "paged_adamw_8bit": _use("adamw_bnb_8bit", _PAGED),
        "paged_adamw_32bit": _use("adamw_torch_fused", _PAGED),
        "paged_adamw": _use("adamw_torch_fused", _PAGED),
        "ao_adamw_8bit": _use("adamw_bnb_8bit", _TORCHAO),
        "ao_adamw_4bit": _use("adamw_bnb_8bit", _TORCHAO),
        "ao_adamw_fp8": _use("adamw_bnb_8bit", _TORCHAO),
        "adamw_torch_8bit": _use("adamw_bnb_8bit", _TORCHAO),
        "adamw_torch_4bit": _use("adamw_bnb_8bit", _TORCHAO),
    },
    "bnb_4bit_compute_dtype": dict.fromkeys(("float16", "fp16", "half", "torch.float16"), _FLOAT16),
    "rl": {
        **dict.fromkeys(("kto", "cpo", "bco", "rpo"), _OTHER_PREFERENCES),
        **dict.fromkeys(("grpo", "gdpo", "gspo", "ppo", "rloo", "ebft"), _ROLLOUTS),
    },
}

_FIXED_CADENCE = Refused(
    "the cadence is given in numbers.",
    "Write `eval_steps` or `evals_per_epoch`, and leave them out for none.",
    allowed=("steps",),
)
_ATTENTION = Refused(
    "this kernel is not offered.", "Write `attn_implementation: sdpa`, or leave it out."
)
_OWN_KERNELS = Refused("Luthier has its own fused paths, which are always on.", "Leave it out.")
_LAYERS = Refused(
    "choosing layers by number is not offered.", "Name the layers in `lora_target_modules`."
)
_PREPARATION = Refused("batches are prepared in the training process.", "Leave it out.")
_PLACEMENT = Refused("the device is chosen on the machine.", "Leave it out; see `luthier doctor`.")
_TOKENS = Refused(
    "new tokens are not added to the vocabulary.",
    "Use tokens that the tokenizer has, set by `special_tokens`.",
)
_TRACKER = Refused("this tracker is not offered.", "Use `report_to: [tensorboard]`.")
_BEST_MODEL = Refused(
    "the validation loss decides.", "Use `early_stopping_patience`, or leave it out."
)
_TRUNK = Refused("partly frozen full fine-tuning is not offered.", "Use `adapter: lora`.")
_MODEL_CLASS = Refused(
    "every model loads through AutoModelForCausalLM and AutoTokenizer.",
    "Leave it out.",
    allowed=("AutoModelForCausalLM", "AutoTokenizer", "AutoModel"),
)

REFUSED: Mapping[str, Refused] = {
    "model_type": _MODEL_CLASS,
    "tokenizer_type": _MODEL_CLASS,
    "base_model_config": Refused("the configuration lies with the model.", "Leave it out."),
    "tokenizer_config": Refused("the tokenizer lies with the model.", "Leave it out."),
    "revision_of_model": Refused(
        "the revision is not chosen here.", "Download it and name the folder in `base_model`."
    ),
    **dict.fromkeys(
        ("is_falcon_derived_model", "is_llama_derived_model", "is_mistral_derived_model"),
        Refused("the model's own configuration says so.", "Leave it out."),
    ),
    "tokenizer_use_fast": Refused("fast tokenizers only.", "Leave it out.", (True,), False),
    "tokenizer_legacy": Refused("the tokenizer's own setting holds.", "Leave it out."),
    "tokens": _TOKENS,
    "added_tokens_overrides": _TOKENS,
    "resize_token_embeddings_to_32x": _TOKENS,
    "rope_scaling": Refused("positions stay as the model has them.", "Leave it out."),
    "overrides_of_model_config": Refused(
        "the model's configuration stays as it is.", "Change it in a local copy of the model."
    ),
    "lora_model_dir": Refused(
        "training on from an adapter is not offered.",
        "Merge it with `luthier merge` and name the result in `base_model`.",
    ),
    "lora_modules_to_save": Refused(
        "whole layers beside an adapter are not offered.", "Leave it out."
    ),
    "lora_fan_in_fan_out": Refused("the layer itself tells its orientation.", "Leave it out."),
    "loraplus_lr_embedding": Refused(
        "it would have no effect: adapters stand on linear layers only, never on embeddings.",
        "Leave it out; `loraplus_lr_ratio` alone is LoRA+.",
    ),
    "lora_on_cpu": _PLACEMENT,
    "peft_layers_to_transform": _LAYERS,
    "lora_layers_to_transform": _LAYERS,
    "lora_target_parameters": _LAYERS,
    "peft": Refused("nested adapter settings are not read.", "Write the flat keys, `lora_r` …"),
    "peft_init_lora_weights": Refused("B starts at zero, A at random.", "Leave it out.", (True,)),
    "unfrozen_parameters": _TRUNK,
    "bnb_4bit_quant_storage": Refused(
        "4-bit weights are stored as bytes.", "Leave it out.", allowed=("uint8",)
    ),
    "bnb_config_kwargs": Refused(
        "nested settings are not read.", "Write the flat keys, `bnb_4bit_quant_type` …"
    ),
    "loftq_config": Refused("B starts at zero, A at random.", "Leave it out."),
    "gptq": _NO_QUANTISED_FILES,
    "gptq_disable_exllama": _NO_QUANTISED_FILES,
    "qat": _NO_QUANTISED_TRAINING,
    "quantization": _NO_QUANTISED_TRAINING,
    "relora_cpu_offload": Refused(
        "a restart merges where the weights are.", "Leave it out.", allowed=(False,)
    ),
    "dpo_norm_loss": _DPO_VARIANT,
    "dpo_use_weighting": _DPO_VARIANT,
    "dpo_use_logits_to_keep": Refused(
        "logits are computed where a label is, always.", "Leave it out.", allowed=(True,)
    ),
    "dpo_padding_free": Refused("batches carry no padding.", "Leave it out.", allowed=(True,)),
    "rpo_alpha": _DPO_VARIANT,
    "cpo_alpha": _OTHER_PREFERENCES,
    "kto_desirable_weight": _OTHER_PREFERENCES,
    "kto_undesirable_weight": _OTHER_PREFERENCES,
    "reward_model": _ROLLOUTS,
    "process_reward_model": _ROLLOUTS,
    "trl": _ROLLOUTS,
    "shuffle_merged_datasets": Refused(
        "training data is always shuffled by `seed`.", "Leave it out.", (True,), False
    ),
    "pretraining_dataset": Refused(
        "endless streams are not offered.", "List a finite file under `datasets`."
    ),
    "streaming": Refused("data is prepared whole.", "Leave it out."),
    "skip_prepare_dataset": Refused("data is always prepared.", "Leave it out."),
    "dataset_exact_deduplication": Refused("rows stay as they are.", "Clean the file first."),
    "dataset_keep_in_memory": _PREPARATION,
    "dataset_processes": _PREPARATION,
    "dataset_num_proc": _PREPARATION,
    "dataset_shard_num": Refused("datasets are read whole.", "Split the file."),
    "dataset_shard_idx": Refused("datasets are read whole.", "Split the file."),
    "remove_unused_columns": Refused("columns that no format names are unused.", "Leave it out."),
    "max_packed_sequence_len": Refused(
        "packing has its own key.", "Write `sequence_len` and `sample_packing: true`."
    ),
    "sequence_length": _renamed("sequence_len"),
    "eval_sequence_len": Refused("validation uses `sequence_len`.", "Leave it out."),
    **dict.fromkeys(
        (
            "sample_packing_eff_est",
            "sample_packing_group_size",
            "sample_packing_bin_size",
            "sample_packing_sequentially",
            "multipack_real_batches",
            "total_num_tokens",
            "batch_flattening",
        ),
        Refused("examples are always laid end to end, nothing is to be tuned.", "Leave it out."),
    ),
    "curriculum_sampling": Refused("the order is random by `seed`.", "Leave it out."),
    "batch_size": Refused(
        "it can mean two things.", "Write `micro_batch_size` and `gradient_accumulation_steps`."
    ),
    "auto_find_batch_size": Refused("a study needs one fixed batch size.", "Leave it out."),
    "eval_strategy": _FIXED_CADENCE,
    "evaluation_strategy": _FIXED_CADENCE,
    "save_strategy": Refused(
        "the cadence is given in numbers.",
        "Write `save_steps` or `saves_per_epoch`.",
        allowed=("steps",),
    ),
    "save_first_step": Refused("the cadence decides.", "Use `save_steps`."),
    "logging_strategy": Refused("the cadence is given in numbers.", "Write `logging_steps`."),
    "save_only_model": Refused("a checkpoint always holds all of the state.", "Leave it out."),
    "save_safetensors": Refused(
        "weights are written as safetensors only.", "Leave it out.", (True,), False
    ),
    "load_best_model_at_end": _BEST_MODEL,
    "metric_for_best_model": _BEST_MODEL,
    "greater_is_better": _BEST_MODEL,
    "do_bench_eval": Refused("tasks are scored by `luthier eval` or in a study.", "Leave it out."),
    "do_causal_lm_eval": Refused(
        "tasks are scored by `luthier eval` or in a study.", "Leave it out."
    ),
    "eval_table_size": Refused("`luthier eval` writes every output.", "Leave it out."),
    "eval_max_new_tokens": Refused("it belongs to a task.", "Write `max_new_tokens` in `tasks`."),
    "loss_watchdog_threshold": Refused("a loss that is not a number stops a run.", "Leave it out."),
    "loss_watchdog_patience": Refused("a loss that is not a number stops a run.", "Leave it out."),
    "lr_scheduler_kwargs": Refused("schedules have keys.", "Write `cosine_min_lr_ratio`."),
    "lr_quadratic_warmup": Refused("warm-up is linear.", "Leave it out."),
    "lr_div_factor": Refused("this schedule is not offered.", "Use `lr_scheduler: cosine`."),
    "cosine_constant_lr_ratio": Refused(
        "this schedule is not offered.", "Use `cosine_min_lr_ratio`."
    ),
    "log_sweep_min_lr": Refused("this schedule is not offered.", "Use a study with a `grid`."),
    "log_sweep_max_lr": Refused("this schedule is not offered.", "Use a study with a `grid`."),
    "lr_groups": Refused("one learning rate for all.", "For LoRA+, use `loraplus_lr_ratio`."),
    "embedding_lr": Refused("one learning rate for all.", "Leave it out."),
    "embedding_lr_scale": Refused("one learning rate for all.", "Leave it out."),
    "adam_beta3": Refused("AdamW has two moments.", "Use `adam_beta1` and `adam_beta2`."),
    "adam_epsilon2": Refused("AdamW has one epsilon.", "Use `adam_epsilon`."),
    "bfloat16": Refused("`bf16` says it.", "Write `bf16: true`."),
    "float16": Refused("float16 training is not offered.", "Write `bf16: true`."),
    "fp8": Refused("8-bit training is not offered.", "Write `bf16: true`."),
    "torch_dtype": Refused("`bf16` says it.", "Write `bf16: true`, `false` or `auto`."),
    "torch_compile": Refused("compilation is not offered.", "Leave it out."),
    "torch_compile_backend": Refused("compilation is not offered.", "Leave it out."),
    "torch_compile_mode": Refused("compilation is not offered.", "Leave it out."),
    **dict.fromkeys(
        (
            "xformers_attention",
            "flex_attention",
            "s2_attention",
            "sage_attention",
            "sageattention",
        ),
        _ATTENTION,
    ),
    "eager_attention": Refused("one key names the kernel.", "Write `attn_implementation: eager`."),
    **dict.fromkeys(
        (
            "flash_attn_cross_entropy",
            "flash_attn_rms_norm",
            "flash_attn_fuse_mlp",
            "flash_attn_fuse_qkv",
            "flash_attn_fuse_norm",
            "lora_mlp_kernel",
            "lora_qkv_kernel",
            "lora_o_kernel",
            "lora_embedding_kernel",
            "unsloth_cross_entropy_loss",
            "unsloth_lora_mlp",
            "unsloth_lora_qkv",
            "unsloth_lora_o",
            "liger_rope",
            "liger_rms_norm",
            "liger_swiglu",
            "liger_glu_activation",
            "liger_layer_norm",
            "liger_cross_entropy",
            "liger_fused_linear_cross_entropy",
            "use_liger_kernel",
            "chunked_cross_entropy",
            "cut_cross_entropy",
        ),
        _OWN_KERNELS,
    ),
    "plugins": Refused("there are no plugins; techniques are built in.", "Leave it out."),
    "activation_offloading": Refused("it is not offered.", "Use `gradient_checkpointing: true`."),
    **dict.fromkeys(
        (
            "device",
            "device_map",
            "max_memory",
            "gpu_memory_limit",
            "low_cpu_mem_usage",
            "local_rank",
            "world_size",
            "use_cpu",
        ),
        _PLACEMENT,
    ),
    "dataloader_num_workers": _PREPARATION,
    "dataloader_pin_memory": _PREPARATION,
    "dataloader_prefetch_factor": _PREPARATION,
    "dataloader_drop_last": Refused("the last batch is always used.", "Leave it out."),
    **dict.fromkeys(
        (
            "use_comet",
            "comet_api_key",
            "comet_workspace",
            "comet_project_name",
            "use_trackio",
            "trackio_project_name",
            "use_swanlab",
            "swanlab_project",
        ),
        _TRACKER,
    ),
    "wandb_watch": Refused("gradients are not sent.", "Leave it out."),
    "wandb_log_model": Refused("models are not sent.", "Leave it out."),
    "wandb_run_id": Refused("every run has its own id.", "Leave it out; use `wandb_name`."),
    "mlflow_run_name": Refused("the folder names the run.", "Leave it out."),
    "hf_mlflow_log_artifacts": Refused("models are not sent.", "Leave it out."),
    "profiler_steps": Refused("there is no profiler.", "Leave it out."),
    "include_tokens_per_second": Refused(
        "tokens per second are always logged.", "Leave it out.", (True,)
    ),
    "debug": Refused("it changes nothing here.", "Leave it out."),
    # Names of TRL, the Hugging Face Trainer and LLaMA-Factory.
    "model_name_or_path": _renamed("base_model"),
    "model": _renamed("base_model"),
    "dataset": _renamed("datasets"),
    "dataset_name": _renamed("datasets"),
    "train_file": _renamed("datasets"),
    "validation_file": _renamed("test_datasets"),
    "val_size": _renamed("val_set_size"),
    "template": _renamed("chat_template"),
    "finetuning_type": _renamed("adapter"),
    "use_peft": _renamed("adapter"),
    "lora_rank": _renamed("lora_r"),
    "lora_target": _renamed("lora_target_modules"),
    "target_modules": _renamed("lora_target_modules"),
    "use_dora": _renamed("peft_use_dora"),
    "use_rslora": _renamed("peft_use_rslora"),
    "per_device_train_batch_size": _renamed("micro_batch_size"),
    "per_device_eval_batch_size": _renamed("eval_batch_size"),
    "num_train_epochs": _renamed("num_epochs"),
    "epochs": _renamed("num_epochs"),
    "lr_scheduler_type": _renamed("lr_scheduler"),
    "optim": _renamed("optimizer"),
    "adam_beta": _renamed("adam_beta1"),
    "max_length": _renamed("sequence_len"),
    "max_seq_length": _renamed("sequence_len"),
    "cutoff_len": _renamed("sequence_len"),
    "packing": _renamed("sample_packing"),
    "neftune_alpha": _renamed("neftune_noise_alpha"),
    "run_name": Refused("the folder names the run.", "Use `--output`, or `wandb_name`."),
    "logging_dir": Refused("everything lies in the run's folder.", "Leave it out."),
    "overwrite_output_dir": Refused("a run is never overwritten.", "Choose another `--output`."),
    "stage": Refused("the method has a key of its own.", "Leave it out, or write `rl`.", ("sft",)),
    "do_train": Refused("`luthier train` trains.", "Leave it out.", (True,)),
    "do_eval": Refused("`val_set_size` decides.", "Leave it out.", (True,)),
    "max_samples": Refused("rows are not cut off here.", "In a study, use `sample: {train: N}`."),
    "preprocessing_num_workers": _PREPARATION,
    "overwrite_cache": Refused("changed data is noticed.", "Leave it out."),
    "assistant_only_loss": Refused(
        "that is what happens unless `train_on_inputs` is true.", "Leave it out.", (True,), False
    ),
    "completion_only_loss": Refused(
        "that is what happens unless `train_on_inputs` is true.", "Leave it out.", (True,), False
    ),
    "data_seed": Refused("one seed drives every generator.", "Use `seed`."),
    "full_determinism": Refused("runs repeat on one machine anyway.", "Leave it out.", (True,)),
}

# Keys for which `false` and empty text mean that they are absent.
OFF_VALUES = frozenset({"rl", "deepspeed", "relora_iterations", "jagged_restart_steps"})

# Keys of transformers that set keys of the chosen optimizer; `optim_args` unfolds them.
UNFOLDED = ("optim_args", "optim_target_modules")

# Keys inside `datasets` and `test_datasets`.
DATASET_LEGACY: Mapping[str, str] = {"train_on_split": "split"}
# Axolotl names a preference type by the template and by the columns of one data set each.
DATASET_LEGACY_VALUES: Mapping[str, Mapping[str, str]] = {
    "type": dict.fromkeys(
        (
            "chat_template.default",
            "chat_template.argilla",
            "chat_template.argilla_chat",
            "chatml.argilla",
            "chatml.argilla_chat",
            "chatml.icr",
            "chatml.intel",
            "chatml.prompt_pairs",
            "chatml.ultra",
            "llama3.argilla",
            "llama3.argilla_chat",
            "llama3.icr",
            "llama3.intel",
            "llama3.prompt_pairs",
            "llama3.ultra",
        ),
        "preference",
    )
}
DATASET_NOT_YET: Mapping[str, str] = {
    "field_tools": "tool calls",
    "field_thinking": "reasoning traces",
    "template_thinking_key": "reasoning traces",
    "split_thinking": "reasoning traces",
    "data_dir": "remote data folders",
}
DATASET_REFUSED: Mapping[str, Refused] = {
    "shards": Refused("datasets are read whole.", "Split the file."),
    "shards_idx": Refused("datasets are read whole.", "Split the file."),
    "preprocess_shards": Refused("datasets are read whole.", "Leave it out."),
    "field": Refused("raw text is a column.", "Write `columns: {text: NAME}`.", ("text",)),
    "train_on_eot": Refused("`train_on_eos` decides.", "Write `train_on_eos`."),
    "eot_tokens": Refused("the chat template decides.", "Leave it out."),
    "message_field_training": Refused("whole turns are trained by role.", "Use `roles_to_train`."),
    "message_field_training_detail": Refused(
        "whole turns are trained by role.", "Use `roles_to_train`."
    ),
    "drop_system_message": Refused("rows stay as they are.", "Clean the file first."),
    "trust_remote_code": Refused("code of a dataset is never run.", "Leave it out."),
    "chat_template_jinja": _renamed("chat_template"),
    "input_format": Refused("the custom format has other names.", "Use `type: {format: …}`."),
    "input_transform": Refused("rows stay as they are.", "Clean the file first."),
}
