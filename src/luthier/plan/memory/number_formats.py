"""How many bytes the numbers of a run take."""

from __future__ import annotations

from typing import NamedTuple

from luthier.plan.machine.hardware import Device, Sharding
from luthier.plan.work.engines import EngineTraits, computes_in_half
from luthier.recipe.resolve import quantised_bits, resolve_bf16
from luthier.recipe.schema import Recipe


class Formats(NamedTuple):
    """Bytes of one number.

    Attributes:
        compute: in products, and of frozen weights that are not quantised.
        trained: of a weight that is fully trained, as it is held.
        hidden: of the hidden states between layers.
        master: of a further float32 copy of every trained weight, kept by the optimizer.
    """

    compute: int
    trained: int
    hidden: int
    master: int = 0

    @property
    def copies_weights(self) -> bool:
        """Whether trained weights are cast to the precision of the products for each of them."""
        return self.trained != self.compute


def choose_formats(
    recipe: Recipe, device: Device, traits: EngineTraits, sharding: Sharding
) -> Formats:
    """The formats of a run.

    FSDP as accelerate sets it up holds trained weights in float32 and gathers them in bfloat16;
    ZeRO holds them in bfloat16 beside a sharded float32 copy (Rajbhandari et al. 2020, section 3).
    """
    compute = _compute_bytes(recipe, device, traits)
    if compute == 4:
        return Formats(4, 4, 4)
    if sharding.startswith("zero"):
        return Formats(2, 2, 2, master=4)
    sharded = sharding.startswith("fsdp")
    trained = 4 if sharding == "fsdp" or (traits.trains_in_float32 and not sharded) else 2
    wide = recipe.adapter is None and traits.trains_in_float32
    wide = wide or (quantised_bits(recipe) is not None and traits.hidden_in_float32)
    # Sharded units cast what comes in to the precision of the products.
    return Formats(2, trained, 4 if wide and not sharded else 2)


def _compute_bytes(recipe: Recipe, device: Device, traits: EngineTraits) -> int:
    wanted = resolve_bf16(recipe)
    if wanted != "auto":
        return 2 if wanted else 4
    return 2 if computes_in_half(device, traits) else 4
