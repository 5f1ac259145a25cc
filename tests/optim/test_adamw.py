"""AdamW against its equations, step by step in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from luthier.optim.settings import AdamSettings, OptimizerSettings
from luthier.optim.table import OPTIMIZERS

SETTINGS = AdamSettings(0.8, 0.95, 1e-6)


def reference(w: Tensor, gradients: list[Tensor], rate: float, decay: float) -> Tensor:
    """Loshchilov & Hutter 2019, algorithm 2, with the schedule's factor in the rate."""
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = SETTINGS.beta1 * m + (1 - SETTINGS.beta1) * g
        v = SETTINGS.beta2 * v + (1 - SETTINGS.beta2) * g * g
        m_hat = m / (1 - SETTINGS.beta1**t)
        v_hat = v / (1 - SETTINGS.beta2**t)
        w = w - rate * (m_hat / (v_hat.sqrt() + SETTINGS.epsilon) + decay * w)
    return w


@pytest.mark.parametrize("name", ["adamw_torch", "adamw_torch_fused"])
def test_ten_steps_equal_the_equations(name: str) -> None:
    torch.manual_seed(0)
    start = [torch.randn(3, 4, dtype=torch.float64), torch.randn(5, dtype=torch.float64)]
    gradients = [[torch.randn_like(w) for w in start] for _ in range(10)]
    parameters = [nn.Parameter(w.clone()) for w in start]
    groups = [
        {"params": [parameters[0]], "names": ["a"], "lr": 0.1, "weight_decay": 0.3},
        {"params": [parameters[1]], "names": ["b"], "lr": 0.02, "weight_decay": 0.0},
    ]
    optimizer = OPTIMIZERS[name](groups, OptimizerSettings(SETTINGS))
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    for place, (rate, decay) in enumerate([(0.1, 0.3), (0.02, 0.0)]):
        expected = reference(start[place], [step[place] for step in gradients], rate, decay)
        assert torch.allclose(parameters[place], expected, rtol=1e-12, atol=1e-14)
