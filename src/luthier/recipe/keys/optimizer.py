"""Keys of the optimizer and its schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.recipe.keys import Keys
from luthier.recipe.kinds import (
    CountOrZero,
    Positive,
    PositiveOrZero,
    Share,
    ShareBelowOne,
)

OptimizerName = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_bnb_8bit",
    "galore_adamw",
    "galore_adamw_8bit",
    "apollo_adamw",
    "apollo_adamw_8bit",
    "apollo_mini_adamw",
    "fira_adamw",
    "fira_adamw_8bit",
]


class OptimizerKeys(Keys):
    """How the weights move."""

    learning_rate: Positive = Field(
        description="Peak learning rate. Usual: 2e-4 for LoRA, 1e-5 for full fine-tuning."
    )
    optimizer: OptimizerName = Field(
        default="adamw_torch_fused",
        description="AdamW with one kernel for a whole step (`…_fused`) or one an operation, or "
        "with moments in 8 bit; or, without an adapter, GaLore, APOLLO or Fira, whose moments "
        "live in a space of low rank.",
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
