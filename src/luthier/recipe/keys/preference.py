"""Keys of training on preference pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.recipe.keys import Keys
from luthier.recipe.kinds import Flag, Positive, PositiveOrZero, ShareBelowHalf


class PreferenceKeys(Keys):
    """What a pair of a chosen and a rejected answer teaches."""

    rl: Literal["dpo", "ipo", "simpo", "orpo"] | None = Field(
        default=None,
        description="Train on preference pairs by this method; supervised when absent.",
    )
    rl_beta: Positive | None = Field(
        default=None,
        description="β of the method; 0.1 when absent, 2 with `simpo`.",
    )
    dpo_beta: Positive | None = Field(
        default=None, description="The same, by its name in DPO and IPO."
    )
    orpo_alpha: Positive | None = Field(default=None, description="The same, by its name in ORPO.")
    simpo_gamma: PositiveOrZero = Field(
        default=1.0,
        description="SimPO: margin by which the chosen answer is to lead: −log σ(β·Δ − γ).",
    )
    dpo_label_smoothing: ShareBelowHalf = Field(
        default=0.0, description="DPO: share of pairs that are taken to be the wrong way round."
    )
    ipo_log_ratio: Literal["mean", "sum"] = Field(
        default="mean",
        description="IPO: log-ratios per token of an answer, as its authors computed them, or of "
        "the whole answer, as the paper's equation says.",
    )
    orpo_nll: Literal["prompt_and_response", "response"] = Field(
        default="prompt_and_response",
        description="ORPO: tokens of the supervised part of the loss; the first as the paper's "
        "code does it.",
    )
    precompute_ref_log_probs: Flag = Field(
        default=True,
        description="DPO, IPO: compute the reference's log-probabilities once and store them. "
        "`false`: in every step, by switching the adapter off.",
    )
