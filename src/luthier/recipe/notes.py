"""What a valid recipe makes worth saying: settings that are accepted and change nothing here."""

from __future__ import annotations

from collections.abc import Iterator

from luthier.recipe.schema import Recipe


def notes_of(recipe: Recipe) -> Iterator[str]:
    """One sentence for each such setting."""
    if recipe.pad_to_sequence_len:
        yield "`pad_to_sequence_len`: batches carry no padding, the result is the same."
    if recipe.adapter == "lora" and recipe.load_in_4bit:
        yield "`adapter: lora` with `load_in_4bit: true` is the same as `adapter: qlora`."
    if recipe.deepspeed is not None:
        yield (
            "`deepspeed` is kept for training on several devices: one process has no use for it, "
            "and several do not take it yet."
        )
