"""The optimizer of GaLore, APOLLO and Fira: low-rank moments for some weights, AdamW for the rest.

A step takes the gradient as it is when `step` is called, so that micro-batches are accumulated
before, and the learning rate of the group, so that a schedule is applied once and from outside.

The moments are float32 also where the weight is not; a checkpoint holds moments, projector and
step, each in its own data type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from luthier.errors import ModelError
from luthier.optim.moments import compute_direction, compute_direction_8bit
from luthier.optim.projection import Projection, take_projection
from luthier.optim.settings import AdamSettings, Groups, ProjectionSettings


class ProjectedStep(NamedTuple):
    """What a rule moves a weight by: all in the weight's computing precision."""

    gradient: Tensor  # (M, N)
    low: Tensor  # the projected gradient
    direction: Tensor  # Adam's, of the shape of `low`
    projection: Projection
    learning_rate: float
    kept: float  # the share of the weight that weight decay leaves


Rule = Callable[[Tensor, ProjectedStep, dict[str, Any], ProjectionSettings], None]


class ProjectedAdamW(torch.optim.Optimizer):
    """AdamW whose `settings.targets` are moved by `rule` from low-rank moments.

    Args:
        groups: from `build_groups`.
        bits: 32, or 8 for block-wise quantised low-rank moments. Other moments keep 32 bits: they
            belong to norms, biases, embeddings and the head.

    Raises:
        ModelError: a target that is not trained, or none at all: the run would be plain AdamW.
    """

    def __init__(
        self,
        groups: Groups,
        rule: Rule,
        adam: AdamSettings,
        settings: ProjectionSettings,
        *,
        bits: int = 32,
    ) -> None:
        self.rule, self.adam, self.settings, self.bits = rule, adam, settings, bits
        self.names: dict[Tensor, str] = {
            parameter: name
            for group in groups
            for name, parameter in zip(group["names"], group["params"], strict=True)
            if name in settings.targets
        }
        missing = sorted(settings.targets.difference(self.names.values()))
        if missing or not self.names:
            raise ModelError(
                f"{', '.join(missing[:3]) or 'no weight'} is trained here, so nothing of it can be "
                "projected. Check the optimizer's target modules, or train without an adapter."
            )
        plain = [{k: v for k, v in group.items() if k != "names"} for group in groups]
        super().__init__(plain, {"lr": 0.0, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore
        """One step of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for parameter in parameters:
                if parameter in self.names:
                    self._step_projected(parameter, group["lr"], group["weight_decay"])
            self._step_plain([p for p in parameters if p not in self.names], group)
        return loss

    def _step_projected(self, parameter: Tensor, learning_rate: float, decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
        assert parameter.grad is not None
        dtype = _computing_dtype(parameter)
        gradient, weight = parameter.grad.to(dtype), parameter.to(dtype)
        projection = take_projection(state, gradient, self.settings, self.names[parameter])
        low = projection.project(gradient)
        state["step"] += 1
        compute = compute_direction if self.bits == 32 else compute_direction_8bit
        direction = compute(state, low, state["step"], self.adam)
        kept = 1.0 - learning_rate * decay
        moved = ProjectedStep(gradient, low, direction, projection, learning_rate, kept)
        self.rule(weight, moved, state, self.settings)
        if weight is not parameter:
            parameter.copy_(weight)

    def _step_plain(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """PyTorch's fused AdamW, on float32 copies of weights of lower precision."""
        if not parameters:
            return
        states = [self._plain_state(parameter) for parameter in parameters]
        weights = [parameter.to(_computing_dtype(parameter)) for parameter in parameters]
        adamw(
            weights,
            [p.grad.to(w.dtype) for p, w in zip(parameters, weights, strict=True)],  # pyright: ignore
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=self.adam.beta1,
            beta2=self.adam.beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=self.adam.epsilon,
            maximize=False,
        )
        for parameter, weight in zip(parameters, weights, strict=True):
            if weight is not parameter:
                parameter.copy_(weight)

    def _plain_state(self, parameter: Tensor) -> dict[str, Any]:
        state = self.state[parameter]
        if not state:
            dtype = _computing_dtype(parameter)
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter, dtype=dtype)
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=dtype)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state exactly; PyTorch would cast all of it to the parameters' data type."""
        super().load_state_dict(state_dict)
        numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for number, parameter in zip(numbers, parameters, strict=True):
            saved: dict[str, Any] | None = state_dict["state"].get(number)
            if saved is not None:
                self.state[parameter] = {
                    key: value.to(parameter.device, copy=True)
                    if isinstance(value, Tensor)
                    else value
                    for key, value in saved.items()
                }


def _computing_dtype(parameter: Tensor) -> torch.dtype:
    return torch.promote_types(parameter.dtype, torch.float32)
