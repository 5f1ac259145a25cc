"""Keys of the adapter, of the quantised base under it and of its restarts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.recipe.keys import Keys
from luthier.recipe.kinds import (
    Count,
    CountOrZero,
    Flag,
    Names,
    Positive,
    ShareAboveZero,
    ShareBelowOne,
)


class AdapterKeys(Keys):
    """LoRA and its variants."""

    adapter: Literal["lora", "qlora"] | None = Field(
        default=None,
        description="`lora`, `qlora` (the same on a 4-bit base), or absent for full fine-tuning.",
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


class QuantisationKeys(Keys):
    """The frozen base under an adapter, in fewer bits."""

    load_in_4bit: Flag = Field(
        default=False, description="Keep the frozen base in 4 bit; needs an adapter."
    )
    load_in_8bit: Flag = Field(
        default=False, description="Keep the frozen base in 8 bit; needs an adapter."
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = Field(
        default="nf4", description="The sixteen values of the 4-bit base."
    )
    bnb_4bit_use_double_quant: Flag = Field(
        default=True, description="Quantise the scales of the 4-bit base too."
    )
    bnb_4bit_compute_dtype: Literal["bfloat16", "float32"] | None = Field(
        default=None,
        description="What a 4-bit weight is unpacked to. Where `bf16` is `auto` it decides the "
        "run's precision.",
    )


class ReloraKeys(Keys):
    """ReLoRA: merge the adapter into the base, start it anew, several times in one run."""

    relora: Flag = Field(
        default=False,
        description="ReLoRA; with `relora_iterations` or `jagged_restart_steps`.",
    )
    relora_iterations: Count | None = Field(
        default=None, description="Parts of equal length into which the run is divided."
    )
    jagged_restart_steps: Count | None = Field(
        default=None,
        description="Optimizer steps of one part; instead of `relora_iterations`.",
    )
    jagged_restart_warmup_steps: CountOrZero = Field(
        default=0, description="Optimizer steps over which the rate rises after a restart."
    )
    jagged_restart_anneal_steps: CountOrZero = Field(
        default=0, description="Optimizer steps over which the rate falls to 0 before a restart."
    )
    relora_prune_method: Literal["magnitude", "random", "reset"] = Field(
        default="magnitude",
        description="What a restart keeps of the optimizer's moments: the largest, random ones, "
        "or (`reset`) none.",
    )
    relora_prune_ratio: ShareAboveZero = Field(
        default=0.99,
        description="Share of the moments that a restart sets to 0; not with `reset`.",
    )
