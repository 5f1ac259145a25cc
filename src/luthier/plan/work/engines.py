"""Whose training loop a plan is for, and how the loops differ in what they keep in memory.

`luthier` is this package's own loop, read from its code. The others are what published
measurements were made with: Hugging Face's Trainer as it comes, the same with kernels that fuse
norms, rotations and the cross-entropy in place, and the same with a head that never forms all
logits. The numbers of bytes count the tensors that those loops hold, one by one:

    transformers      4 log-softmax + 4 gradient of the picked values + 4 gradient of the logits
    accelerated-peft  the same; hidden states of a quantised base stay in bfloat16
    fused-loss        4 in float32 + 4 shifted copy, which becomes its own gradient
    liger             none: the head and the loss run in chunks, as in `luthier`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from luthier.plan.machine.hardware import Device
from luthier.plan.work.workload import Engine


def computes_in_half(device: Device, traits: EngineTraits) -> bool:
    """Whether `bf16: auto` means 16 bits: bfloat16, or where a GPU has none the others' float16."""
    return device.has_bf16 or (device.kind != "cpu" and not traits.trains_in_float32)


class EngineTraits(NamedTuple):
    """What decides a loop's memory.

    Attributes:
        trains_in_float32: weights that are fully trained are float32 where products are bfloat16;
            their bfloat16 copies live while they are needed.
        logit_bytes: held for each label and each row of the vocabulary; 0 where the head runs in
            chunks.
        labelled_only: the head sees labelled positions alone.
        fused_norms: a norm keeps its input as it is, not a copy in float32.
        shares_adapter_inputs: adapters that read the same hidden states keep them once.
        hidden_in_float32: on a quantised base hidden states are float32, since the norms are
            (`prepare_model_for_kbit_training`).
        keeps_layer_output: a layer that is worked out anew holds its output as well (reentrant
            checkpointing).
        packs_experts: a quantised base has its experts packed too.
        copies_reference: full fine-tuning on pairs holds a second, frozen model.
        workspace_mib: cuBLAS's.
    """

    trains_in_float32: bool
    logit_bytes: float
    labelled_only: bool
    fused_norms: bool
    shares_adapter_inputs: bool
    hidden_in_float32: bool
    keeps_layer_output: bool
    packs_experts: bool
    copies_reference: bool
    workspace_mib: float


_FUSED = EngineTraits(
    trains_in_float32=False,
    logit_bytes=8,
    labelled_only=False,
    fused_norms=True,
    shares_adapter_inputs=True,
    hidden_in_float32=False,
    keeps_layer_output=True,
    packs_experts=True,
    copies_reference=True,
    workspace_mib=8,
)

_STOCK = _FUSED._replace(logit_bytes=12, fused_norms=False, shares_adapter_inputs=False)

ENGINES: Mapping[Engine, EngineTraits] = {
    "luthier": EngineTraits(
        trains_in_float32=True,
        logit_bytes=0,
        labelled_only=True,
        fused_norms=False,
        shares_adapter_inputs=True,
        hidden_in_float32=False,
        keeps_layer_output=False,
        packs_experts=False,
        copies_reference=False,
        workspace_mib=32,
    ),
    "transformers": _STOCK._replace(hidden_in_float32=True),
    "accelerated-peft": _STOCK,
    "fused-loss": _FUSED,
    "liger": _FUSED._replace(logit_bytes=0),
}

# Families whose attention lays keys and values out once for each query head, although
# FlashAttention would not need it (transformers' modeling files of these two).
REPEATS_KEYS = frozenset({"mistral", "mixtral"})
