"""Whole models with an adapter of ours and of PEFT's, with the same random weights."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from luthier.adapters.attach_lora import LoraTargets, attach_lora
from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.lora import LoraSettings
from verification.models import build_model

TARGETS = {
    "qwen2": ("q_proj", "v_proj", "down_proj"),
    "gpt2": ("c_attn", "c_proj"),
    "gpt_neox": ("query_key_value", "dense"),
}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
}
IDS = torch.arange(3, 15).reshape(2, 6)


def attach(model: Any, family: str, method: str, **settings: Any) -> AttachedAdapter:
    """Our adapter with every trained tensor moved off its start."""
    choices = METHODS[method]
    torch.manual_seed(1)
    adapter = attach_lora(
        model,
        LoraSettings(
            4,
            8,
            scaling="alpha/sqrt(rank)" if choices.get("use_rslora") else "alpha/rank",
            magnitude=bool(choices.get("use_dora")),
            **settings,
        ),
        LoraTargets(TARGETS[family], False),
        base_model="tiny",
        dtype=torch.promote_types(model.dtype, torch.float32),
    )
    shift(adapter.parameters)
    adapter.refresh()
    return adapter


@torch.no_grad()
def shift(parameters: dict[str, Any]) -> None:
    for name, parameter in parameters.items():
        if name.endswith("magnitude"):
            parameter.mul_(1.0 + 0.3 * torch.rand_like(parameter))
        else:
            parameter.add_(0.2 * torch.randn_like(parameter))


def peft_config(family: str, method: str, **more: Any) -> LoraConfig:
    return LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=list(TARGETS[family]),
        fan_in_fan_out=family == "gpt2",
        task_type="CAUSAL_LM",
        **METHODS[method],
        **more,
    )


def peft_twin(adapter: AttachedAdapter, family: str, method: str) -> Any:
    """PEFT's model on an equal base, with our adapter's weights copied in."""
    model = get_peft_model(build_model(family), peft_config(family, method)).double()
    theirs = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in adapter.parameters.items():
            theirs[peft_name(name)].copy_(parameter)
    return model


def peft_name(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    ending = "lora_magnitude_vector.default" if kind == "magnitude" else f"{kind}.default"
    return f"base_model.model.{layer}.{ending}.weight"


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(IDS).logits
