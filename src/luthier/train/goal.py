"""What a run minimises: the recipe's objective, and how examples are laid out for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from luthier.adapters.switched_off import switched_off
from luthier.data.batches import pack
from luthier.data.pair_batches import pack_pairs
from luthier.device import Precision
from luthier.models.packed import PackedModel
from luthier.models.quantize import choose_quantization
from luthier.objectives import OBJECTIVES, WITH_REFERENCE
from luthier.objectives.objective import Objective
from luthier.objectives.settings import ObjectiveSettings
from luthier.provenance import digest_texts
from luthier.recipe.resolve import preference_beta
from luthier.recipe.schema import Recipe
from luthier.train.prepare import PreparedData
from luthier.train.reference import attach_reference, digest_weights, load_or_compute_reference


class Goal(NamedTuple):
    """The objective, and the function that makes a micro-batch of examples for it."""

    objective: Objective
    pack: Callable[[Sequence[Any]], Any]


def build_goal(recipe: Recipe, model: PackedModel) -> Goal:
    """The recipe's objective over `model`."""
    if recipe.rl is None:
        return Goal(OBJECTIVES[None](ObjectiveSettings()), pack)
    settings = ObjectiveSettings(
        beta=preference_beta(recipe),
        label_smoothing=recipe.dpo_label_smoothing,
        ipo_log_ratio=recipe.ipo_log_ratio,
        simpo_gamma=recipe.simpo_gamma,
        orpo_nll=recipe.orpo_nll,
        reference_model=partial(switched_off, model),
    )
    # NEFTune's noise is that of one example: under it each answer keeps a prompt of its own.
    shared = model.shares_prompts and recipe.neftune_noise_alpha is None
    labels_prompt = recipe.rl == "orpo" and recipe.orpo_nll == "prompt_and_response"
    return Goal(
        OBJECTIVES[recipe.rl](settings),
        partial(pack_pairs, shared=shared, prompt_labels=labels_prompt),
    )


def wants_stored_reference(recipe: Recipe) -> bool:
    """Whether the objective compares with log-probabilities that are computed beforehand."""
    return recipe.rl in WITH_REFERENCE and recipe.precompute_ref_log_probs


def digest_reference_model(recipe: Recipe, causal: Any, precision: Precision) -> str:
    """What the reference is: the same for all arms of a study that share it.

    Call it before an adapter is put on `causal`, whose random start is that of one seed.
    """
    if not wants_stored_reference(recipe):
        return ""
    packing = str(choose_quantization(recipe))
    # What no weight tells is in the configuration: positions, windows, scales of attention.
    parts = [digest_weights(causal), precision, packing, causal.config.to_json_string()]
    return digest_texts(parts)


def add_reference(
    recipe: Recipe,
    model: PackedModel,
    data: PreparedData,
    folder: Path | None,
    accelerator: Any,
    model_digest: str,
) -> PreparedData:
    """The data with the reference's log-probabilities, where the objective wants them stored.

    Call it before the first step and before a checkpoint is loaded: the model is still what it
    shall be compared with.

    Args:
        folder: keeps them between runs; None computes them anew.
        model_digest: from `digest_reference_model`.
    """
    if not wants_stored_reference(recipe):
        return data

    def score(pairs: list[Any]) -> list[Any]:
        if not pairs:
            return []
        with accelerator.autocast():
            found = load_or_compute_reference(
                model, pairs, accelerator.device, folder, model_digest
            )
        return list(attach_reference(pairs, found))

    return data._replace(training=score(data.training), validation=score(data.validation))
