"""The table of checks: one row for each claim."""

from __future__ import annotations

from functools import partial

from verification import (
    adapters,
    lora_plus,
    noise,
    objectives,
    optimizers,
    quantisation,
    restarts,
)
from verification.check import Check

LIMIT = 1e-6
SAMPLING = 2e-3  # four standard errors of what two million random numbers tell

LAYER = "layer: output and gradients"
STEPS = "layer after 5 AdamW steps"
MODELS = "models: loss and gradients"
FILES = "logits of what PEFT loads"
MERGED = "merged weights"
WITH_TRL = "loss, gradients and figures"
PERIODS = "11 steps, 4 projectors"


def _adapter_rows(technique: str, method: str) -> list[Check]:
    rows = [(LAYER, adapters.compare_layer), (STEPS, adapters.compare_steps)]
    rows += [(MODELS, adapters.compare_models), (FILES, adapters.compare_files)]
    rows += [(MERGED, adapters.compare_merged)]
    return [Check(technique, "PEFT", what, LIMIT, partial(f, method)) for what, f in rows]


ADAPTERS = [
    *_adapter_rows("LoRA", "lora"),
    *_adapter_rows("rsLoRA", "rslora"),
    *_adapter_rows("DoRA", "dora"),
    Check("DoRA, rsLoRA", "PEFT", LAYER, LIMIT, partial(adapters.compare_layer, "dora+rslora")),
]

LORA_PLUS = [
    Check(technique, reference, quantity, LIMIT, partial(compare, dora=dora))
    for technique, reference, dora in (("LoRA+", "PEFT", False), ("LoRA+ on DoRA", "PEFT ¹", True))
    for quantity, compare in (
        ("rate and decay per tensor", lora_plus.compare_groups),
        ("first 3 updates", lora_plus.compare_updates),
    )
]

QUANTISATION = [
    Check(
        "NF4, FP4, 8 bit",
        "bitsandbytes",
        "unpacked weight",
        LIMIT,
        quantisation.compare_with_bitsandbytes,
    ),
    Check(
        "NF4",
        "paper in NumPy",
        "unpacked weight",
        LIMIT,
        partial(quantisation.compare_nf4_with_paper, double=False),
    ),
    Check(
        "NF4, double",
        "paper in NumPy",
        "unpacked weight",
        LIMIT,
        partial(quantisation.compare_nf4_with_paper, double=True),
    ),
    Check(
        "8 bit",
        "paper in NumPy",
        "unpacked weight",
        LIMIT,
        quantisation.compare_8bit_with_paper,
    ),
    Check(
        "NF4",
        "bitsandbytes",
        "mean error, normal weights ²",
        SAMPLING,
        quantisation.compare_nf4_error,
    ),
    *(
        Check(technique, "PEFT", LAYER, LIMIT, partial(quantisation.compare_layer_on_nf4, method))
        for technique, method in (("QLoRA", "lora"), ("QDoRA", "dora"))
    ),
    *(
        Check(
            technique,
            "float64 in NumPy",
            MERGED,
            LIMIT,
            partial(quantisation.compare_merged, method, packing),
        )
        for technique, method, packing in (
            ("QLoRA", "lora", quantisation.NF4_DOUBLE),
            ("QDoRA", "dora", quantisation.NF4_DOUBLE),
            ("LoRA on 8 bit", "lora", quantisation.INT8),
            ("DoRA on 8 bit", "dora+rslora", quantisation.INT8),
        )
    ),
]

NOISE = [
    Check("NEFTune", "transformers", "noise in a packed row", LIMIT, noise.compare_packed_row),
    Check("NEFTune", "α/√(L·d)", "largest of 2 million numbers", LIMIT, noise.compare_bounds),
    Check("NEFTune", "uniform", "mean and variance", SAMPLING, noise.compare_moments),
    Check("NEFTune", "uniform", "distribution function", 3e-3, noise.compare_distribution),
]

OPTIMIZERS = [
    *(
        Check(
            technique,
            "paper in NumPy",
            "11 steps",
            LIMIT,
            partial(optimizers.compare_adamw, name),
        )
        for technique, name in (("AdamW", "adamw_torch"), ("AdamW, fused", "adamw_torch_fused"))
    ),
    Check(
        "AdamW, 8 bit",
        "bitsandbytes",
        "11 steps",
        LIMIT,
        optimizers.compare_adamw_8bit,
    ),
    Check("GaLore", "galore-torch", PERIODS, LIMIT, optimizers.compare_galore_everywhere),
    Check("GaLore, 8 bit", "galore-torch", PERIODS, LIMIT, optimizers.compare_galore_8bit),
    Check("APOLLO", "paper in NumPy", PERIODS, LIMIT, optimizers.compare_apollo_everywhere),
    Check(
        "APOLLO-Mini",
        "paper in NumPy",
        PERIODS,
        LIMIT,
        partial(optimizers.compare_apollo_everywhere, mini=True),
    ),
    Check("Fira", "paper in NumPy", PERIODS, LIMIT, optimizers.compare_fira_everywhere),
]

RESTARTS = [
    *(
        Check(technique, "before merging", "logits after merging", LIMIT, partial(compare, method))
        for compare in (restarts.compare_function,)
        for technique, method in (("ReLoRA", "lora"), ("ReLoRA on DoRA", "dora"))
    ),
    *(
        Check(technique, "paper in NumPy", "weights of 3 parts", LIMIT, partial(compare, method))
        for compare in (restarts.compare_weights,)
        for technique, method in (
            ("ReLoRA", "lora"),
            ("ReLoRA on rsLoRA", "rslora"),
            ("ReLoRA on DoRA", "dora"),
        )
    ),
    Check(
        "ReLoRA on NF4",
        "paper in NumPy",
        "weights of 3 parts ³",
        LIMIT,
        restarts.compare_weights_on_nf4,
    ),
    Check("ReLoRA", "3 · 4", "rank of 3 parts of rank 4", 0.0, restarts.compare_rank),
    Check("ReLoRA", "paper in NumPy", "moments after pruning ⁴", LIMIT, restarts.compare_pruning),
]

OBJECTIVES = [
    *(
        Check(technique, "TRL", WITH_TRL, LIMIT, partial(objectives.compare_with_trl, method))
        for technique, method in (
            ("DPO", "dpo"),
            ("IPO", "ipo"),
            ("SimPO", "simpo"),
            ("ORPO", "orpo"),
        )
    ),
    Check("DPO, smoothed", "TRL", "loss", LIMIT, objectives.compare_smoothed_dpo),
]

CHECKS: tuple[Check, ...] = (
    *ADAPTERS,
    *LORA_PLUS,
    *QUANTISATION,
    *NOISE,
    *OPTIMIZERS,
    *RESTARTS,
    *OBJECTIVES,
)

NOTES: tuple[str, ...] = (
    "¹ PEFT puts DoRA's magnitude into B's group: at the larger rate, and decayed. Here it moves "
    "at the plain rate without decay, as LoRA+'s paper raises B's rate alone; the reference is "
    "corrected so.",
    "² Of a million normal numbers; bitsandbytes' own tests give 0.072792.",
    "³ The full-precision weights behind the packed ones.",
    "⁴ And a first moment goes where its second does, which the paper does not ask for.",
    "GaLore: galore-torch's SVD is widened to float64. It adds ε to the uncorrected second moment "
    "and decays the weight after the update, where AdamW does before; in the comparison both are "
    "as here. APOLLO and Fira follow algorithm 1 of their papers, with AdamW's decay.",
    "Where a row is no whole number of blocks of 64, bitsandbytes 0.50.2 takes wrong scales as it "
    "unpacks on a CPU with AVX-512. Luthier has it unpack such a weight as one long row; the tests "
    "compare four such widths with the paper in NumPy.",
)
