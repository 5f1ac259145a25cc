"""What a process on a CPU holds beyond the tensors of its run.

Figures seen on one Linux machine, on models of 5, 26 and 114 million weights: typical values, which
another system or version of PyTorch changes.
"""

from __future__ import annotations

from luthier.plan.model.model_facts import ModelFacts
from luthier.recipe.resolve import quantised_bits
from luthier.recipe.schema import Recipe

MIB = 2**20
# Interpreter, PyTorch, transformers, tokenizer and data; bitsandbytes where it is needed.
PROCESS_MIB, BITSANDBYTES_MIB = 480, 60
# bfloat16: what is compiled for each shape of a product (models/even_rows.py), and attention, which
# is worked out in float32 there.
COMPILED_MIB = 90
# Of what is held in tensors, lost between blocks of unlike sizes; more where weights are unpacked
# between them all the time.
HEAP_GAPS, PACKED_HEAP_GAPS = 0.18, 0.30
# Of a packed base's unpacked linear layers: holes that they leave where they were read.
HOLES = 0.15


def measure_process(
    tensor_bytes: float, recipe: Recipe, facts: ModelFacts, *, bfloat16: bool = False
) -> float:
    """Resident bytes beyond the tensors at their fullest moment.

    A base that is packed as it is read leaves holes, into which few activations fit. How large they
    are differs by a fifth from run to run, since several layers are read at once.
    """
    packed = quantised_bits(recipe) is not None
    library = packed or recipe.optimizer.endswith("8bit")
    process = (PROCESS_MIB + (BITSANDBYTES_MIB if library else 0)) * MIB
    process += COMPILED_MIB * MIB if bfloat16 else 0
    if packed:
        return process + PACKED_HEAP_GAPS * tensor_bytes + HOLES * 4 * facts.linear_weights
    return process + HEAP_GAPS * tensor_bytes
