"""LoRA, with DoRA and rsLoRA as choices on it.

    LoRA    y = W x + b + s·B A x             s = α/R            (Hu et al. 2021, eq. 3)
    rsLoRA  the same with                     s = α/√R           (Kalajdzievski 2023, thm. 3.2)
    DoRA    y = m/‖W + s·B A‖ ∘ (W + s·B A) x + b                (Liu et al. 2024, eq. 5)

DoRA's norm is per output row and counts as a constant for the gradient (Liu et al., section 4.3).
Since it depends on weights alone it is computed once per optimizer step, by
`refresh_norm`, and not in every forward pass.

On a quantised base W is the unpacked weight: read in the forward pass and again in the backward
pass, never kept in between.

Shapes: `T` tokens, `I` input width, `O` output width, `R` rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from luthier.device import exact_products
from luthier.models.quantize import QuantizedLinear, choose_compute_dtype, multiply_frozen

ReadWeight = Callable[[torch.dtype], Tensor]
Scaling = Literal["alpha/rank", "alpha/sqrt(rank)"]

# A row of W + sBA below this counts as zero: dividing by it would give NaN.
SMALLEST_NORM = 1e-12


class LoraSettings(NamedTuple):
    rank: int
    alpha: float
    dropout: float = 0.0
    scaling: Scaling = "alpha/rank"
    magnitude: bool = False  # DoRA

    @property
    def scale(self) -> float:
        divisor = self.rank if self.scaling == "alpha/rank" else math.sqrt(self.rank)
        return self.alpha / divisor


class LoraLayer(nn.Module):
    """A frozen linear layer and its trained low-rank update.

    Holds `lora_A` (R, I), `lora_B` (O, R) and, for DoRA, `magnitude` (O,). B starts at zero and the
    magnitude at ‖W‖, so that a new adapter leaves the model as it was.
    """

    def __init__(self, base: nn.Module, settings: LoraSettings, dtype: torch.dtype) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.settings = settings
        self.transposed = isinstance(base, Conv1D)
        self.out_features, self.in_features = self.weight_OI.shape
        device = next(base.parameters()).device
        shape_A, shape_B = (settings.rank, self.in_features), (self.out_features, settings.rank)
        self.lora_A = nn.Parameter(torch.empty(shape_A, dtype=dtype, device=device))
        self.lora_B = nn.Parameter(torch.zeros(shape_B, dtype=dtype, device=device))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.dropout = nn.Dropout(settings.dropout)
        self.magnitude: nn.Parameter | None = None
        # Buffers, so that they follow the model to its device; computable, so never saved.
        self._norm_O: Tensor | None
        self._base_norm_squared_O: Tensor | None
        self.register_buffer("_norm_O", None, persistent=False)
        self.register_buffer("_base_norm_squared_O", None, persistent=False)
        if settings.magnitude:
            self.magnitude = nn.Parameter(self.compute_norm().to(dtype))
            self.refresh_norm()

    @property
    def weight_OI(self) -> Tensor:
        """The frozen weight, one row an output; of a quantised base a copy, unpacked."""
        weight: Tensor = self.base.weight  # type: ignore[assignment]
        return weight.T if self.transposed else weight

    def read_weight(self, dtype: torch.dtype) -> Tensor:
        """`weight_OI` in `dtype`."""
        return self.weight_OI.to(dtype)

    @torch.no_grad()
    def write_weight(self, weight_OI: Tensor) -> None:
        """Another frozen weight (O, I), rounded to the base's own precision or packed anew.

        A head that shares its weight with the embedding must be untied before (`untie_head`), and
        DoRA's norm refreshed after.
        """
        if isinstance(self.base, QuantizedLinear):
            self.base.write_weight(weight_OI)
        else:
            self.weight_OI.copy_(weight_OI.to(self.weight_OI.dtype))
        self._base_norm_squared_O = None

    @property
    def weight(self) -> Tensor:
        """The frozen weight as the base layer holds it; some families ask a layer for its dtype."""
        return self.base.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias  # type: ignore[return-value]

    @torch.no_grad()
    @exact_products()
    def compute_norm(self) -> Tensor:
        """‖W + s·B A‖ of each row (O,), without forming the sum.

        ‖w + s·b A‖² = ‖w‖² + 2s·(w Aᵀ)·b + s²·(b A Aᵀ)·b, in float32 or wider; ‖w‖² is kept.
        """
        accurate = torch.promote_types(self.lora_A.dtype, torch.float32)
        a_RI, b_OR = self.lora_A.to(accurate), self.lora_B.to(accurate)
        weight_OI = self.weight_OI.to(accurate)
        if self._base_norm_squared_O is None:
            self._base_norm_squared_O = weight_OI.square().sum(1)
        s = self.settings.scale
        cross_O = ((weight_OI @ a_RI.T) * b_OR).sum(1)
        own_O = ((b_OR @ (a_RI @ a_RI.T)) * b_OR).sum(1)
        squared_O = self._base_norm_squared_O + 2 * s * cross_O + s * s * own_O
        return squared_O.clamp(min=SMALLEST_NORM**2).sqrt()

    def refresh_norm(self) -> None:
        """Recompute DoRA's norm; the loop calls this when the weights have changed."""
        if self.magnitude is not None:
            self._norm_O = self.compute_norm().to(self.magnitude.dtype)

    @torch.no_grad()
    @exact_products()
    def compute_delta(self) -> Tensor:
        """What merging adds to the weight, (O, I) in float32 or wider; for DoRA W' − W."""
        accurate = torch.promote_types(self.lora_A.dtype, torch.float32)
        update_OI = self.settings.scale * (self.lora_B.to(accurate) @ self.lora_A.to(accurate))
        if self.magnitude is None:
            return update_OI
        weight_OI = self.weight_OI.to(accurate)
        gain_O1 = (self.magnitude.to(accurate) / self.compute_norm()).unsqueeze(1)
        return gain_O1 * (weight_OI + update_OI) - weight_OI

    @torch.no_grad()
    def compute_merged(self) -> Tensor:
        """The weight with the update added, (O, I) in float32 or wider."""
        accurate = torch.promote_types(self.lora_A.dtype, torch.float32)
        return self.read_weight(accurate) + self.compute_delta()

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) → (…, O)."""
        if self.training and self.settings.dropout > 0:
            return self._forward_with_dropout(x)
        dtype = choose_compute_dtype(x)
        gain_O = None
        if self.magnitude is not None:
            assert self._norm_O is not None
            gain_O = self.magnitude / self._norm_O
        out = _FusedLora.apply(
            x.to(dtype).flatten(0, -2),
            self.read_weight,
            None if self.bias is None else self.bias.to(dtype),
            self.lora_A.to(dtype),
            self.lora_B.to(dtype),
            gain_O,
            self.settings.scale,
        )
        return out.unflatten(0, x.shape[:-1])

    def _forward_with_dropout(self, x: Tensor) -> Tensor:
        """PEFT's placement: the update, and DoRA's share of W, see the dropped input."""
        plain = self.base(x)
        dropped = self.dropout(x).to(self.lora_A.dtype)
        update = functional.linear(functional.linear(dropped, self.lora_A), self.lora_B)
        update = self.settings.scale * update
        if self.magnitude is not None:
            assert self._norm_O is not None
            gain_O = self.magnitude / self._norm_O
            turned = multiply_frozen(dropped, self.read_weight)
            update = (gain_O - 1) * turned + gain_O * update
        return plain + update.to(plain.dtype)


class _FusedLora(torch.autograd.Function):
    """y = x W'ᵀ + b with W' = g∘(W + s·B A), without the passes over (T, O) that autograd makes.

    In float32, W' is formed for the moment of the product where there are more tokens than inputs:
    adding the update to the weight costs less than adding it to the activations then. Otherwise
    (generation, a chunk of an output head) the update is accumulated into the product; in bfloat16
    always, which would round a small update of a weight away.

    Kept are x and, for DoRA, y − b: its product with the gradient is g times the gain's own
    gradient. It is never formed by subtracting a bias, which can be a hundred times larger and
    would drown it in rounding. A gain of exactly zero gets no gradient. W is read anew in the
    backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_TI: Tensor,
        read_weight: ReadWeight,
        bias_O: Tensor | None,
        a_RI: Tensor,
        b_OR: Tensor,
        gain_O: Tensor | None,
        scale: float,
    ) -> Tensor:
        weight_OI = read_weight(x_TI.dtype)
        ctx.scale, ctx.read_weight = scale, read_weight
        accurate = weight_OI.dtype in (torch.float32, torch.float64)
        ctx.merges = accurate and x_TI.shape[0] > x_TI.shape[1]
        ctx.gains_output = accurate and not ctx.merges and gain_O is not None
        inner_bias_O = bias_O if gain_O is None else None
        if ctx.merges:
            merged_OI = _merge_rows(weight_OI, a_RI, b_OR, gain_O, scale)
            product_TO = functional.linear(x_TI, merged_OI, inner_bias_O)
        else:
            row_gain_O = None if ctx.gains_output else gain_O
            product_TO = functional.linear(x_TI, _scale_rows(weight_OI, row_gain_O), inner_bias_O)
            product_TO.addmm_(x_TI @ a_RI.T, _scale_rows(b_OR, row_gain_O).T, alpha=scale)
            if gain_O is not None and ctx.gains_output:
                product_TO.mul_(gain_O)
        kept_TO = None if gain_O is None else product_TO
        ctx.save_for_backward(x_TI, a_RI, b_OR, gain_O, kept_TO)
        if gain_O is None or bias_O is None:
            return product_TO
        return product_TO + bias_O

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_TO = outputs[0]
        x_TI, a_RI, b_OR, gain_O, product_TO = ctx.saved_tensors
        grad_gain_O = None
        if gain_O is not None:
            weighted_O = (grad_TO * product_TO).sum(0, dtype=gain_O.dtype)
            grad_gain_O = torch.where(gain_O == 0, 0.0, weighted_O / gain_O)
            if ctx.gains_output:
                grad_TO, gain_O = grad_TO * gain_O, None
        grad_reduced_TR = (grad_TO @ _scale_rows(b_OR, gain_O)).mul_(ctx.scale)
        grad_a_RI = grad_reduced_TR.T @ x_TI
        grad_b_OR = _scale_rows((grad_TO.T @ (x_TI @ a_RI.T)).mul_(ctx.scale), gain_O)
        grad_x_TI = None
        weight_OI = ctx.read_weight(x_TI.dtype) if ctx.needs_input_grad[0] else None
        if weight_OI is not None and ctx.merges:
            grad_x_TI = grad_TO @ _merge_rows(weight_OI, a_RI, b_OR, gain_O, ctx.scale)
        elif weight_OI is not None:
            grad_x_TI = (grad_TO @ _scale_rows(weight_OI, gain_O)).addmm_(grad_reduced_TR, a_RI)
        return grad_x_TI, None, None, grad_a_RI, grad_b_OR, grad_gain_O, None


def _merge_rows(
    weight_OI: Tensor, a_RI: Tensor, b_OR: Tensor, gain_O: Tensor | None, scale: float
) -> Tensor:
    """g∘(W + s·B A), (O, I)."""
    merged_OI = torch.addmm(weight_OI, b_OR, a_RI, alpha=scale)
    return merged_OI if gain_O is None else merged_OI.mul_(gain_O.unsqueeze(1))


def _scale_rows(weight: Tensor, gain_O: Tensor | None) -> Tensor:
    """Each row times its gain, rounded once: bfloat16 cannot hold a gain of 1.001 by itself."""
    if gain_O is None:
        return weight
    return torch.mul(weight, gain_O.unsqueeze(1), out=torch.empty_like(weight))
