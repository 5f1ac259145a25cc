"""What an adapter hands to the training loop once it stands on a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

Role = Literal["full", "lora_A", "lora_B", "lora_embedding", "magnitude"]


@dataclass(frozen=True)
class AttachedAdapter:
    """The trained part of a model.

    Attributes:
        parameters: the trained parameters by their name in the model.
        roles: what each of them is, from which the optimizer forms its groups.
        refresh: call after the parameters have changed (a step, a resume), before the next forward.
        save: writes the result into an empty folder, in PEFT's or Hugging Face's own format.
        result: the name of that folder in the run directory.
    """

    parameters: dict[str, nn.Parameter]
    roles: dict[str, Role]
    refresh: Callable[[], None]
    save: Callable[[Path], None]
    result: Literal["adapter", "model"]
