"""One LoRA layer and PEFT's, with the same random weights, in float64."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from luthier.adapters.lora import LoraLayer, LoraSettings

INPUTS, OUTPUTS, RANK, ALPHA = 7, 5, 3, 6
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"scaling": "alpha/sqrt(rank)"},
    "dora": {"magnitude": True},
    "dora+rslora": {"magnitude": True, "scaling": "alpha/sqrt(rank)"},
}


def build_base(kind: str) -> nn.Module:
    if kind == "conv1d":
        base = Conv1D(OUTPUTS, INPUTS).double()
        nn.init.normal_(base.bias)
        return base
    return nn.Linear(INPUTS, OUTPUTS, bias=kind == "bias").double()


def build_pair(kind: str, method: str, dropout: float = 0.0) -> tuple[LoraLayer, Any]:
    """Our layer and PEFT's, with the same random weights in A, B and magnitude."""
    settings = LoraSettings(RANK, ALPHA, dropout, **METHODS[method])
    base = build_base(kind)
    ours = LoraLayer(base, settings, torch.float64)
    with torch.no_grad():
        ours.lora_B.normal_()
        if ours.magnitude is not None:
            ours.magnitude.mul_(torch.rand(OUTPUTS, dtype=torch.float64) + 0.5)
    ours.refresh_norm()
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=dropout,
        use_dora=settings.magnitude,
        use_rslora=method.endswith("rslora"),
        fan_in_fan_out=kind == "conv1d",
    )
    peft = PeftLinear(
        base, "default", config=config, r=RANK, lora_alpha=ALPHA, fan_in_fan_out=kind == "conv1d"
    ).double()
    copy_into_peft(ours, peft)
    return ours, peft


@torch.no_grad()
def copy_into_peft(ours: LoraLayer, peft: Any) -> None:
    peft.lora_A["default"].weight.copy_(ours.lora_A)
    peft.lora_B["default"].weight.copy_(ours.lora_B)
    if ours.magnitude is not None:
        peft.lora_magnitude_vector["default"].weight.copy_(ours.magnitude)


def gradients_of_ours(layer: LoraLayer, x: Tensor) -> dict[str, Tensor]:
    found = {"input": x.grad, "A": layer.lora_A.grad, "B": layer.lora_B.grad}
    if layer.magnitude is not None:
        found["magnitude"] = layer.magnitude.grad
    return {name: grad for name, grad in found.items() if grad is not None}


def gradients_of_peft(layer: Any, x: Tensor) -> dict[str, Tensor]:
    found: dict[str, Any] = {
        "input": x.grad,
        "A": layer.lora_A["default"].weight.grad,
        "B": layer.lora_B["default"].weight.grad,
    }
    if len(layer.lora_magnitude_vector):
        found["magnitude"] = layer.lora_magnitude_vector["default"].weight.grad
    return found


def run_both(ours: LoraLayer, peft: Any, tokens: int = 4) -> list[tuple[str, Tensor, Tensor]]:
    """(what, ours, PEFT's) for the output and every gradient of a random scalar of it."""
    x = torch.randn(2, tokens, INPUTS, dtype=torch.float64)
    weights = torch.randn(2, tokens, OUTPUTS, dtype=torch.float64)
    x_ours, x_peft = x.clone().requires_grad_(), x.clone().requires_grad_()
    y_ours, y_peft = ours(x_ours), peft(x_peft)
    (y_ours * weights).sum().backward()
    (y_peft * weights).sum().backward()
    expected = gradients_of_peft(peft, x_peft)
    found = gradients_of_ours(ours, x_ours)
    assert set(found) == set(expected)
    return [("output", y_ours, y_peft)] + [(n, found[n], expected[n]) for n in expected]


class FixedMask(nn.Module):
    """A dropout of 0.4 that drops the same inputs in both."""

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.arange(x.numel()).reshape(x.shape) % 3 != 0
        return x * mask / 0.6


def build_dropping_pair(kind: str, method: str) -> tuple[LoraLayer, Any]:
    ours, peft = build_pair(kind, method, dropout=0.4)
    ours.dropout = FixedMask()  # type: ignore[assignment]
    peft.lora_dropout["default"] = FixedMask()
    return ours, peft


def run_steps_in_both(ours: LoraLayer, peft: Any, steps: int) -> None:
    """PyTorch's AdamW on both, with the gradients of `run_both`."""
    mine = [p for p in ours.parameters() if p.requires_grad]
    base = set(map(id, peft.base_layer.parameters()))
    theirs = [p for p in peft.parameters() if p.requires_grad and id(p) not in base]
    assert len(mine) == len(theirs)
    optimizers = [torch.optim.AdamW(group, lr=0.05) for group in (mine, theirs)]
    for _ in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        run_both(ours, peft)
        for optimizer in optimizers:
            optimizer.step()
        # The one difference to PEFT: the norm is refreshed here, once a step.
        ours.refresh_norm()
    for optimizer in optimizers:
        optimizer.zero_grad()
