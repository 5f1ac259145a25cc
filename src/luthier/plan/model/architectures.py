"""From a Hugging Face config.json to a model's facts, by the family that it names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from luthier.errors import PlanError
from luthier.plan.model import gated_families as gated
from luthier.plan.model import gpt_families as gpt
from luthier.plan.model.config_keys import ConfigKeys
from luthier.plan.model.model_facts import ModelFacts

FAMILIES: dict[str, Callable[[ConfigKeys], ModelFacts]] = {
    "gemma": gated.read_gemma,
    "gemma2": gated.read_gemma2,
    "gemma3_text": gated.read_gemma3,
    "gpt2": gpt.read_gpt2,
    "gpt_bigcode": gpt.read_gpt_bigcode,
    "gpt_neo": gpt.read_gpt_neo,
    "gpt_neox": gpt.read_gpt_neox,
    "granite": gated.read_llama,
    "llama": gated.read_llama,
    "mistral": gated.read_llama,
    "mixtral": gated.read_mixtral,
    "opt": gpt.read_opt,
    "phi3": gated.read_phi3,
    "qwen2": gated.read_qwen2,
    "qwen2_moe": gated.read_qwen2_moe,
    "qwen3": gated.read_qwen3,
    "qwen3_moe": gated.read_qwen3_moe,
    "smollm3": gated.read_llama,
}
"""`model_type` of a configuration → what works out the facts of that family."""


def facts_from_config(name: str, config: Mapping[str, Any], source: str) -> ModelFacts:
    """The facts of a causal language model from its configuration.

    The count of parameters is exact: it equals that of the model that transformers builds.

    Args:
        name: what the model is called by.
        config: the content of its config.json.
        source: where the configuration is from, as shown to the user.

    Raises:
        PlanError: a family that is not in `FAMILIES`, or a key that is missing or odd.
    """
    text = config.get("text_config")
    if "model_type" in config and config["model_type"] not in FAMILIES and isinstance(text, dict):
        # Image towers differ from model to model; training text leaves them alone.
        part = {"dtype": config.get("dtype") or config.get("torch_dtype"), **text}
        return facts_from_config(name, part, f"{source}, the part for text alone")
    family = str(config.get("model_type", ""))
    build = FAMILIES.get(family)
    if build is None:
        raise _unknown_family(name, family)
    facts = build(ConfigKeys(name, config))
    return facts._replace(
        name=name, family=family, weights_dtype=_stored_dtype(config), source=source
    )


def _unknown_family(name: str, family: str) -> PlanError:
    if not family:
        return PlanError(f"config.json of {name} lacks model_type, such as llama or qwen2.")
    near = difflib.get_close_matches(family, FAMILIES, n=3, cutoff=0.4) or sorted(FAMILIES)
    return PlanError(
        f"{name} is of the family {family!r}, whose layers the planner does not know. "
        f"Nearest: {', '.join(near)}. If its layers are those of a known family, give a "
        "config.json that names it with --model-config FILE."
    )


def _stored_dtype(config: Mapping[str, Any]) -> str:
    # transformers writes no dtype for a model that is stored in float32.
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")
