"""Keys of one run: precision, devices, results and cadence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from luthier.recipe.keys import Keys
from luthier.recipe.kinds import (
    Count,
    Expects,
    Flag,
    FlagOrAuto,
    Seed,
    Text,
    asks_for_nothing,
    refusal,
)

Tracker = Literal["tensorboard", "wandb", "mlflow"]
TRACKERS: tuple[Tracker, ...] = ("tensorboard", "wandb", "mlflow")


def _listed_trackers(value: Any) -> Any:
    if value in ("none", ["none"]):
        return ()
    return (value,) if isinstance(value, str) else value


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
CheckpointingKwargs = Annotated[
    Mapping[str, Flag],
    AfterValidator(_check_checkpointing_kwargs),
    Expects("a mapping with `use_reentrant: true` or `false`"),
]
DeepspeedSettings = Annotated[
    Text | Mapping[str, Any], Expects("the path of a DeepSpeed file, or a mapping")
]


class PrecisionKeys(Keys):
    """Number formats, memory and kernels."""

    bf16: FlagOrAuto = Field(
        default="auto",
        description="Compute in bfloat16; `auto`: on a GPU that does it, and on a processor where "
        "it was measured to be clearly faster. A run and a study keep what they began with.",
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


class DeviceKeys(Keys):
    """Several devices."""

    deepspeed: DeepspeedSettings | None = Field(
        default=None,
        description="Path or mapping of DeepSpeed's settings. Kept in the recipe; one process "
        "has no use for it, several do not take it yet.",
    )


class ResultKeys(Keys):
    """Where results go and who is told."""

    _imply_trackers = model_validator(mode="before")(_with_implied_trackers)

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


class CadenceKeys(Keys):
    """What happens every so many steps."""

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


class OtherKeys(Keys):
    """The rest."""

    seed: Seed = Field(default=42, description="Seed of every random generator of the run.")
    strict: Flag | None = Field(
        default=None, description="Accepted and changes nothing: reading is always strict."
    )
