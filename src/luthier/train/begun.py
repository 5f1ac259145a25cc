"""The precision that a run began in, which holds to its end, on whatever machine it goes on."""

from __future__ import annotations

from typing import Literal

from luthier.device import Precision, describe_device, has_bfloat16
from luthier.errors import TrainingError
from luthier.files import RunLayout, read_json
from luthier.precision import Decision, decide


def settle_precision(
    layout: RunLayout, wanted: bool | Literal["auto"], study: Precision | None = None
) -> Decision:
    """What the run in `layout` computes in: as it began, as its study says, or decided now.

    Args:
        wanted: the recipe's `bf16`.
        study: what all runs of a study with `bf16: auto` compute in.

    Raises:
        TrainingError: bfloat16, where the hardware has none.
    """
    if wanted != "auto":
        return decide(wanted)
    settled = read_begun(layout)
    if settled is None and study is not None:
        settled = Decision(study, "bf16: auto, decided for the whole study")
    if settled is None:
        return decide("auto")
    if settled.precision == "bfloat16" and not has_bfloat16():
        raise TrainingError(
            f"{layout.root} computes in bfloat16, as was decided where it began, and "
            f"{describe_device().name} has none. Go on with it on a device that has, or begin anew "
            "in another --output."
        )
    return settled


def read_begun(layout: RunLayout) -> Decision | None:
    """The precision that a run has written down; None where nothing has begun."""
    if not layout.provenance.exists():
        return None
    before = read_json(layout.provenance)
    if "precision" in before:
        return Decision(before["precision"], before.get("precision_why", ""))
    # Runs that began before this was written down took bfloat16 on every GPU, and float32 else.
    on_gpu = before["hardware"]["device"] == "cuda" and has_bfloat16()
    return Decision("bfloat16" if on_gpu else "float32", "bf16: auto, as it began")
