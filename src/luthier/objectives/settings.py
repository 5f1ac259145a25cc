"""The numbers and choices of the objectives."""

from __future__ import annotations

from typing import Literal, NamedTuple

from luthier.objectives.answers import ReferenceModel

LikelihoodTokens = Literal["prompt_and_response", "response"]
LogRatio = Literal["mean", "sum"]


class ObjectiveSettings(NamedTuple):
    """What an objective may need; each takes what is its own.

    Attributes:
        beta: the strength β of the preference.
        label_smoothing: DPO: the share of pairs held to be the wrong way round.
        ipo_log_ratio: IPO: log-ratios per token, or of whole answers.
        simpo_gamma: SimPO: the margin γ by which chosen shall lead.
        orpo_nll: ORPO: the tokens of its likelihood term.
        reference_model: DPO, IPO: needed for batches that bring no reference log-probabilities.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    ipo_log_ratio: LogRatio = "mean"
    simpo_gamma: float = 1.0
    orpo_nll: LikelihoodTokens = "prompt_and_response"
    reference_model: ReferenceModel | None = None
