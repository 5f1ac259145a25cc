"""The model that an evaluation scores: a base model, a run's result or an adapter from anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from luthier import device
from luthier.adapters import peft_format
from luthier.adapters.load_adapter import load_adapter
from luthier.errors import ModelError
from luthier.files import RunLayout, read_json
from luthier.models.load import grow_embeddings, load_base_model, load_tokenizer
from luthier.models.packed import PackedModel
from luthier.recipe.load import load_recipe


@dataclass(frozen=True)
class EvaluatedModel:
    """A causal model in evaluation mode on its device, with its tokenizer."""

    causal: Any
    tokenizer: Any

    @property
    def device(self) -> torch.device:
        return self.causal.device

    @property
    def context_tokens(self) -> int:
        """The longest input that the model was built for."""
        config = self.causal.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 2048)

    @contextlib.contextmanager
    def over_packed_rows(self) -> Generator[PackedModel]:
        """The model over packed rows. Its attention is another meanwhile: generate afterwards."""
        before: str = self.causal.config._attn_implementation
        try:
            yield PackedModel(self.causal).eval()
        finally:
            self.causal.set_attn_implementation(before)


@dataclass(frozen=True)
class ModelPlace:
    """Where a model's parts lie: the base, the adapter on it, and the tokenizer."""

    base: str
    adapter: Path | None
    tokenizer: str


def find_model(name: str) -> ModelPlace:
    """What `name` means: a run's folder, an adapter's folder, a model's folder, or a hub id.

    Raises:
        ModelError: a run that has not finished, or a folder without a model.
    """
    folder = Path(name)
    layout = RunLayout(folder)
    if layout.recipe.exists() and not (folder / "config.json").exists():
        if layout.adapter.exists():
            return _place_of_adapter(layout.adapter, load_recipe(layout.recipe).recipe.base_model)
        if layout.model.exists():
            return ModelPlace(str(layout.model), None, str(layout.model))
        raise ModelError(
            f"{name} holds a run without a result. Finish it with `luthier train … --resume`."
        )
    if (folder / peft_format.CONFIG).exists():
        return _place_of_adapter(folder, None)
    if folder.is_dir() and not (folder / "config.json").exists():
        why = f" Its run failed: see {layout.error}." if layout.error.exists() else ""
        raise ModelError(
            f"{name} holds neither a run's result nor an adapter nor a model.{why} Give the folder "
            "of a finished run, or one with an adapter_config.json or a config.json."
        )
    return ModelPlace(name, None, name)


def _place_of_adapter(folder: Path, base: str | None) -> ModelPlace:
    base = base or read_json(folder / peft_format.CONFIG).get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{folder} does not name the base model it was trained on.")
    own_tokenizer = (folder / "tokenizer_config.json").exists()
    return ModelPlace(str(base), folder, str(folder) if own_tokenizer else str(base))


def load_model(
    name: str,
    *,
    bf16: bool | None = None,
    chat_template: str = "tokenizer_default",
    special_tokens: Mapping[str, str] | None = None,
    trust_remote_code: bool = False,
) -> EvaluatedModel:
    """Load the model in `name` onto the device, in float32 or (GPUs, `bf16`) bfloat16.

    Args:
        chat_template: the template to ask with, where it is not the tokenizer's own.
        special_tokens: given to the tokenizer, as training would.
    """
    place = find_model(name)
    precision = device.choose_precision("auto" if bf16 is None else bf16)
    tokenizer = load_tokenizer(
        place.tokenizer,
        chat_template=chat_template,
        special_tokens=special_tokens,
        trust_remote_code=trust_remote_code,
    ).tokenizer
    causal = load_base_model(
        place.base, dtype=getattr(torch, precision), trust_remote_code=trust_remote_code
    )
    grow_embeddings(causal, len(tokenizer))
    if place.adapter is not None:
        load_adapter(causal, place.adapter, base_model=place.base)
    return EvaluatedModel(causal.eval().to(PartialState().device), tokenizer)
