"""The recipe: one frozen model whose attributes are the keys of the dialect.

Unknown, legacy and refused keys never reach it: `dialect` answers those by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from luthier.recipe.dataset import ChatTemplate, DatasetSource
from luthier.recipe.kinds import (
    Count,
    CountOrZero,
    Expects,
    Flag,
    FlagOrAuto,
    Names,
    Positive,
    PositiveOrZero,
    Seed,
    Share,
    ShareBelowOne,
    ShareOrCount,
    Text,
    TextMapping,
    asks_for_nothing,
    refusal,
)

Tracker = Literal["tensorboard", "wandb", "mlflow"]
TRACKERS: tuple[Tracker, ...] = ("tensorboard", "wandb", "mlflow")
SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def _listed_trackers(value: Any) -> Any:
    if value in ("none", ["none"]):
        return ()
    return (value,) if isinstance(value, str) else value


def _check_special_tokens(value: Mapping[str, str]) -> Mapping[str, str]:
    for name in value:
        if name not in SPECIAL_TOKENS:
            raise refusal(
                f"`{name}` is not a special token that can be set.",
                f"Use {', '.join(f'`{token}`' for token in SPECIAL_TOKENS)}.",
            )
    return value


def _check_checkpointing_kwargs(value: Mapping[str, bool]) -> Mapping[str, bool]:
    for name in value:
        if name != "use_reentrant":
            raise refusal(f"`{name}` is not understood here.", "Only `use_reentrant` is.")
    return value


def _with_implied_trackers(values: Any) -> Any:
    """Add to `report_to` the trackers that `use_…` and the trackers' own keys ask for."""
    if not isinstance(values, Mapping):
        return values
    asked: Any = _listed_trackers(values.get("report_to")) or ()
    if not isinstance(asked, list | tuple):
        return values
    trackers: list[Any] = list(asked)
    for tracker in TRACKERS:
        own_keys = [key for key in values if str(key).startswith(f"{tracker}_")]
        wanted = any(values[key] is not None for key in own_keys)
        if values.get(f"use_{tracker}") is not None:
            wanted = not asks_for_nothing(values[f"use_{tracker}"])
        if wanted and tracker not in trackers:
            trackers.append(tracker)
    return {**values, "report_to": trackers} if trackers else values


Trackers = Annotated[
    tuple[Tracker, ...],
    BeforeValidator(_listed_trackers),
    Expects("`none`, or a list of `tensorboard`, `wandb`, `mlflow`"),
]
SpecialTokens = Annotated[
    TextMapping,
    AfterValidator(_check_special_tokens),
    Expects("a mapping of `bos_token`, `eos_token`, `pad_token` or `unk_token` to its text"),
]
CheckpointingKwargs = Annotated[
    Mapping[str, Flag],
    AfterValidator(_check_checkpointing_kwargs),
    Expects("a mapping with `use_reentrant: true` or `false`"),
]
Sources = Annotated[
    tuple[DatasetSource, ...], Field(min_length=1), Expects("a list of datasets, at least one")
]


class Recipe(BaseModel):
    """Everything one training run depends on, apart from the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    _imply_trackers = model_validator(mode="before")(_with_implied_trackers)

    base_model: Text = Field(
        description="Hub id, local folder, or `embedded` for the small model in the package."
    )
    trust_remote_code: Flag = Field(
        default=False,
        description="Allow code of the model's repository to run; takes effect only together with "
        "the command-line flag of the same name.",
    )
    chat_template: ChatTemplate = Field(
        default="tokenizer_default",
        description="`tokenizer_default` (the model's own), `chatml`, or a Jinja template.",
    )
    special_tokens: SpecialTokens | None = Field(
        default=None, description="Special tokens to set on the tokenizer, such as `pad_token`."
    )

    adapter: Literal["lora"] | None = Field(
        default=None, description="`lora`, or absent for full fine-tuning."
    )
    lora_r: Count | None = Field(
        default=None, description="Rank of the adapter; needed when `adapter` is set."
    )
    lora_alpha: Count | None = Field(
        default=None,
        description="Numerator of the adapter's scale (α/r, with rsLoRA α/√r); needed when "
        "`adapter` is set.",
    )
    lora_dropout: ShareBelowOne = Field(
        default=0.0, description="Dropout probability on the adapter's input, 0 to below 1."
    )
    lora_target_modules: Names | None = Field(
        default=None, description="Layers that get an adapter: a name ending or a list of them."
    )
    lora_target_linear: Flag = Field(
        default=False,
        description="Give every linear layer except the output head an adapter; together with "
        "`lora_target_modules` both sets count.",
    )
    peft_use_dora: Flag = Field(
        default=False, description="DoRA: learn magnitude and direction of a weight apart."
    )
    peft_use_rslora: Flag = Field(
        default=False, description="rsLoRA: scale by α/√r instead of α/r."
    )
    loraplus_lr_ratio: Positive | None = Field(
        default=None,
        description="LoRA+: learning rate of the adapter's B matrices as a multiple of A's.",
    )
    loraplus_lr_embedding: Positive = Field(
        default=1e-6, description="LoRA+: learning rate of adapters on embeddings."
    )

    datasets: Sources = Field(description="The training data: a list of datasets.")
    test_datasets: Sources | None = Field(
        default=None, description="Validation data; instead of `val_set_size`."
    )
    val_set_size: ShareOrCount = Field(
        default=0,
        description="Held out of the training data for the validation loss: a share below 1, or a "
        "whole number of examples.",
    )
    dataset_prepared_path: Text | None = Field(
        default=None, description="Folder that keeps the tokenised data between runs."
    )
    sequence_len: Count = Field(default=2048, description="Longest example, in tokens.")
    excess_length_strategy: Literal["drop", "truncate", "raise"] = Field(
        default="drop", description="What happens to an example longer than `sequence_len`."
    )
    sample_packing: Flag = Field(
        default=False,
        description="Fill every row of a micro-batch with examples up to `sequence_len` tokens. "
        "Attention never crosses an example.",
    )
    eval_sample_packing: Flag = Field(
        default_factory=lambda data: data["sample_packing"],
        description="The same for validation; `sample_packing` when absent.",
    )
    pad_to_sequence_len: Flag = Field(
        default=False,
        description="Accepted and noted: batches carry no padding, the result is the same.",
    )
    train_on_inputs: Flag = Field(
        default=False, description="Let the prompt carry the loss too, not the answers alone."
    )
    group_by_length: Flag = Field(
        default=False, description="Put examples of similar length into the same batch."
    )

    micro_batch_size: Count = Field(
        default=1, description="Examples per forward pass and device (rows, with `sample_packing`)."
    )
    eval_batch_size: Count = Field(
        default_factory=lambda data: data["micro_batch_size"],
        description="Examples per forward pass in validation; `micro_batch_size` when absent.",
    )
    gradient_accumulation_steps: Count = Field(
        default=1, description="Micro-batches per optimizer step."
    )
    num_epochs: Positive = Field(
        default=1.0, description="Passes over the training data; may be a fraction."
    )
    max_steps: Count | None = Field(
        default=None,
        description="Optimizer steps after which training ends; wins over `num_epochs`.",
    )

    learning_rate: Positive = Field(
        description="Peak learning rate. Usual: 2e-4 for LoRA, 1e-5 for full fine-tuning."
    )
    optimizer: Literal["adamw_torch", "adamw_torch_fused"] = Field(
        default="adamw_torch_fused",
        description="AdamW, with one kernel for a whole step (`…_fused`) or one an operation.",
    )
    lr_scheduler: Literal["linear", "cosine", "constant"] = Field(
        default="cosine", description="Course of the learning rate after warm-up."
    )
    warmup_steps: CountOrZero | None = Field(
        default=None, description="Optimizer steps over which the learning rate rises."
    )
    warmup_ratio: ShareBelowOne | None = Field(
        default=None, description="The same as a share of the run; instead of `warmup_steps`."
    )
    cosine_min_lr_ratio: Share | None = Field(
        default=None,
        description="Floor of the cosine schedule, as a share of `learning_rate`; 0 when absent.",
    )
    weight_decay: PositiveOrZero = Field(default=0.0, description="Decoupled weight decay.")
    max_grad_norm: PositiveOrZero = Field(
        default=1.0, description="Gradients are clipped to this global norm; 0 turns it off."
    )
    adam_beta1: ShareBelowOne = Field(default=0.9, description="Decay of Adam's first moment.")
    adam_beta2: ShareBelowOne = Field(default=0.999, description="Decay of Adam's second moment.")
    adam_epsilon: Positive = Field(default=1e-8, description="Adam's term for numerical stability.")
    neftune_noise_alpha: Positive | None = Field(
        default=None, description="NEFTune: magnitude of the noise on embeddings; off when absent."
    )

    bf16: FlagOrAuto = Field(
        default="auto",
        description="Compute in bfloat16; `auto`: where the device does it natively.",
    )
    fp16: Literal[False] | None = Field(
        default=None, description="Only `false`: float16 training is refused, use `bf16`."
    )
    tf32: FlagOrAuto = Field(
        default=False, description="Allow TF32 in float32 matrix products on NVIDIA GPUs."
    )
    gradient_checkpointing: Flag = Field(
        default=False, description="Recompute activations in the backward pass to save memory."
    )
    gradient_checkpointing_kwargs: CheckpointingKwargs | None = Field(
        default=None, description="Only `use_reentrant`."
    )
    flash_attention: Flag = Field(
        default=False,
        description="Use FlashAttention; falls back with a note where it is not there.",
    )
    sdp_attention: Flag = Field(
        default=False, description="Use PyTorch's scaled-dot-product attention."
    )
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] | None = Field(
        default=None, description="The attention kernel by name; chosen for the device when absent."
    )

    output_dir: Text | None = Field(
        default=None, description="Folder of the run; the command line's `--output` wins."
    )
    report_to: Trackers = Field(default=(), description="Trackers that receive the metrics.")
    use_tensorboard: Flag | None = Field(
        default=None, description="Adds `tensorboard` to `report_to`."
    )
    use_wandb: Flag | None = Field(
        default=None, description="Adds `wandb` to `report_to`, as every `wandb_…` key does."
    )
    wandb_project: Text | None = Field(default=None, description="Project at Weights & Biases.")
    wandb_entity: Text | None = Field(default=None, description="Team or user at Weights & Biases.")
    wandb_name: Text | None = Field(default=None, description="Name of the run there.")
    wandb_mode: Literal["online", "offline", "disabled"] | None = Field(
        default=None, description="Whether Weights & Biases sends what it records."
    )
    use_mlflow: Flag | None = Field(
        default=None, description="Adds `mlflow` to `report_to`, as every `mlflow_…` key does."
    )
    mlflow_tracking_uri: Text | None = Field(
        default=None, description="Folder or server of MLflow."
    )
    mlflow_experiment_name: Text | None = Field(default=None, description="Experiment of MLflow.")

    logging_steps: Count = Field(
        default=10, description="Optimizer steps between two logged lines."
    )
    eval_steps: Count | None = Field(
        default=None, description="Optimizer steps between two validations."
    )
    evals_per_epoch: Count | None = Field(
        default=None, description="Validations per epoch; instead of `eval_steps`."
    )
    save_steps: Count | None = Field(
        default=None, description="Optimizer steps between two checkpoints."
    )
    saves_per_epoch: Count | None = Field(
        default=None, description="Checkpoints per epoch; instead of `save_steps`."
    )
    save_total_limit: Count | None = Field(
        default=None,
        description="Checkpoints to keep while training, the newest 2 when absent; none are left "
        "beside the result of a finished run.",
    )
    early_stopping_patience: Count | None = Field(
        default=None,
        description="Validations without a better loss after which training stops; off when "
        "absent.",
    )
    resume_from_checkpoint: Text | None = Field(
        default=None, description="Folder of the checkpoint to go on from."
    )
    auto_resume_from_checkpoints: Flag = Field(
        default=False,
        description="Go on from the newest checkpoint in `output_dir`, where there is one.",
    )

    seed: Seed = Field(default=42, description="Seed of every random generator of the run.")
    strict: Flag | None = Field(
        default=None, description="Accepted and changes nothing: reading is always strict."
    )


# Title → the first key of that part of the recipe, for the documentation.
SECTIONS: Mapping[str, str] = {
    "Model": "base_model",
    "Adapter": "adapter",
    "Data": "datasets",
    "Amounts": "micro_batch_size",
    "Optimisation": "learning_rate",
    "Precision and memory": "bf16",
    "Results and tracking": "output_dir",
    "Cadence": "logging_steps",
    "The rest": "seed",
}
