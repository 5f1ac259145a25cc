"""What an adapter hands to the training loop once it stands on a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor, nn

Role = Literal["full", "lora_A", "lora_B", "magnitude"]


class MovingBase(NamedTuple):
    """Frozen weights that restarts change: what is not trained, but must be kept all the same.

    Attributes:
        read: what has to be kept of them, by name.
        write: puts back what `read` gave; call `refresh` after it.
        restart: adds the update into the weights and begins it anew; the argument seeds the start.
        weight: layer name → its weight (O, I) as it is now; where the model holds it packed, the
            one that was packed.
        roundings: how far each layer's merged weight may lie from the exact sum, so far: the
            largest singular value of the difference, summed over merges.
    """

    read: Callable[[], dict[str, Tensor]]
    write: Callable[[Mapping[str, Tensor]], None]
    restart: Callable[[int], None]
    weight: Callable[[str], Tensor]
    roundings: Callable[[], dict[str, float]]


@dataclass(frozen=True)
class AttachedAdapter:
    """The trained part of a model.

    Attributes:
        parameters: the trained parameters by their name in the model.
        roles: what each of them is, from which the optimizer forms its groups.
        refresh: call after the parameters have changed (a step, a resume), before the next forward.
        save: writes the result into an empty folder, in PEFT's or Hugging Face's own format; at the
            end of the run, since it may merge the adapter into the model.
        result: the name of that folder in the run directory.
        base: the frozen weights, where restarts change them.
    """

    parameters: dict[str, nn.Parameter]
    roles: dict[str, Role]
    refresh: Callable[[], None]
    save: Callable[[Path], None]
    result: Literal["adapter", "model"]
    base: MovingBase | None = None
