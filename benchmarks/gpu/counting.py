"""How tokens, work and the share of a device's peak are counted; written beside the numbers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

# Said once in the JSON and on the page.
COUNTING: Mapping[str, str] = {
    "tokens": (
        "tokens of the rows, without any padding (all rows of a step have one length); of a "
        "preference pair both conversations, each with its prompt, whoever works the prompt out "
        "once. A step's tokens do not change with the length unless one row is more"
    ),
    "labels": "every token is labelled, unless the cell says half",
    "share_of_peak": (
        "4N FLOPs a token on a frozen base (2N forward, 2N backward to the activations), 6N where "
        "all weights are trained; N is all weights, embedding and head included. Attention, "
        "adapters, recomputed layers, unpacking and DPO's reference are not counted: work that "
        "recomputes lowers the share. Peak: the device's dense bfloat16 rate by its data sheet"
    ),
    "seconds": (
        "from the end of a step to the end of the next, batch included, the device waited for at "
        "both; medians over the counted steps of all turns. The first step of a turn (of a first "
        "turn the first two) is not counted, nor is compilation: `first_step_seconds` has it"
    ),
    "memory": (
        "peaks of a contestant's own turns: `allocated` by tensors, `reserved` by PyTorch for "
        "them; without the CUDA context. On a processor the process's peak so far"
    ),
    "order": (
        "peers in processes of their own on one device, one at work at a time, in turns A B … B A; "
        "`alone` where two do not fit the device at once: then one after the other"
    ),
    "precision": (
        "bfloat16 by autocast for both. Frozen bases in bfloat16 (TRL by itself would load "
        "float32), trained weights and adapters in float32; TRL casts the adapters of a quantised "
        "base to bfloat16"
    ),
    "determinism": (
        "Luthier keeps the order of sums: deterministic algorithms, a cuBLAS workspace of fixed "
        "size, no cuDNN attention. TRL does not; `determinism off` tells its price"
    ),
    "dpo": (
        "LoRA, no second model: the base under the adapter is the reference. Luthier works its "
        "answers out before the first step (`reference_seconds` for the pairs of one step, and "
        "tokens/s with it), TRL in each step unless `reference stored`"
    ),
}


def share_of_peak(
    tokens_per_second: float, parameters: float, passes: int, peak_tflops: float
) -> float:
    """FLOPs of the model ÷ the device's peak.

    >>> round(share_of_peak(12_473, 8.03e9, 4, 989), 3)
    0.405
    """
    return tokens_per_second * passes * parameters / (peak_tflops * 1e12)


def summarise_seconds(turns: Sequence[Sequence[float]], step_tokens: int) -> dict[str, object]:
    """The counted seconds of all turns: their median, and how far turns and steps differ."""
    every = [seconds for turn in turns for seconds in turn]
    middle = statistics.median(every)
    return {
        "tokens_per_second": round(step_tokens / middle, 1),
        "step_seconds": round(middle, 5),
        "slowest_step_seconds": round(max(every), 5),
        "turn_seconds": [round(statistics.median(turn), 5) for turn in turns],
        "steps": len(every),
    }
