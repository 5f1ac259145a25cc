"""Keys of the data and of how much of it a step takes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from luthier.recipe.dataset import DatasetSource
from luthier.recipe.keys import Keys
from luthier.recipe.kinds import Count, Expects, Flag, Positive, ShareOrCount, Text

Sources = Annotated[
    tuple[DatasetSource, ...], Field(min_length=1), Expects("a list of datasets, at least one")
]


class DataKeys(Keys):
    """The rows and how they are laid out."""

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


class AmountKeys(Keys):
    """How much is trained."""

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
