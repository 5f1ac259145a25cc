"""The table of `make verify`, row by row; and that its checks see a mistake when there is one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from bitsandbytes.optim import AdamW8bit
from torch import Tensor
from verification import adapters, lora_plus, noise, objectives, optimizers, quantisation, restarts
from verification.check import Check, largest
from verification.report import Result, format_line, format_number, format_summary, list_cells
from verification.table import CHECKS

from luthier.adapters.lora import LoraLayer
from luthier.models.neftune import draw_noise
from luthier.models.quantize import PackedWeight, unpack_weight
from luthier.objectives.dpo import compute_dpo_losses
from luthier.objectives.ipo import compute_ipo_losses
from luthier.objectives.simpo import compute_simpo_losses
from luthier.optim.groups import build_groups
from luthier.optim.moments import compute_direction
from luthier.optim.norm_scaling import limit_growth


@pytest.mark.parametrize(
    "check", CHECKS, ids=lambda check: f"{check.technique}: {check.quantity} ({check.reference})"
)
def test_a_technique_equals_its_reference(check: Check) -> None:
    difference = check.measure()
    assert check.passes(difference), f"{difference:.2e} > {check.limit:.0e}"


class Mistake(NamedTuple):
    """Something wrong put in the place of `target`, and the check that has to see it."""

    target: str
    wrong: Any
    check: Callable[[], float]
    limit: float = 1e-6


def swapped(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss with chosen and rejected in each other's place."""
    return lambda pairs_S2, *more: function(pairs_S2.flip(1), *more)


def scale_noise(lengths: tuple[int, ...], like: Tensor, alpha: float) -> Tensor:
    """NEFTune by the length of the packed row, as other tools have it."""
    return draw_noise((sum(lengths),), like, alpha)


def hurry_lora_B(*arguments: Any) -> list[dict[str, Any]]:
    groups = build_groups(*arguments)
    for group in groups:
        group["lr"] *= 1 + 1e-5 * any("lora_B" in name for name in group["names"])
    return groups


MISTAKES = {
    "LoRA's scale is a hundred thousandth too large": Mistake(
        "luthier.adapters.lora.LoraSettings.scale",
        property(lambda self: (1 + 1e-5) * self.alpha / self.rank),
        lambda: adapters.compare_layer("lora"),
    ),
    "rsLoRA divides by the rank": Mistake(
        "luthier.adapters.lora.LoraSettings.scale",
        property(lambda self: self.alpha / self.rank),
        lambda: adapters.compare_models("rslora"),
    ),
    "DoRA's norm is not refreshed after a step": Mistake(
        "luthier.adapters.lora.LoraLayer.refresh_norm",
        lambda self, plain=LoraLayer.refresh_norm: self._norm_O is None and plain(self),
        lambda: adapters.compare_steps("dora"),
    ),
    "rsLoRA's files forget what they are": Mistake(
        "luthier.adapters.peft_format.write_json",
        lambda path, value: path.write_text(json.dumps({**value, "use_rslora": False})),
        lambda: adapters.compare_files("rslora"),
    ),
    "merging forgets DoRA's gain": Mistake(
        "luthier.adapters.lora.LoraLayer.compute_delta",
        lambda self: self.settings.scale * self.lora_B.detach() @ self.lora_A.detach(),
        lambda: adapters.compare_merged("dora"),
    ),
    "LoRA+ moves B a hundred thousandth too fast": Mistake(
        "verification.lora_plus.build_groups",
        hurry_lora_B,
        lambda: lora_plus.compare_updates(dora=True),
    ),
    "LoRA+ loses the weight decay": Mistake(
        "verification.lora_plus.build_groups",
        lambda parameters, roles, settings: build_groups(
            parameters, roles, settings._replace(weight_decay=0.0)
        ),
        lambda: lora_plus.compare_groups(dora=False),
    ),
    "a packed weight is unpacked a hundred thousandth too large": Mistake(
        "luthier.models.quantize.QuantizedLinear.weight",
        property(lambda self: (1 + 1e-5) * unpack_weight(PackedWeight(self.codes, self._scales))),
        lambda: quantisation.compare_nf4_with_paper(double=True),
    ),
    "the update on a packed base is merged with the wrong sign": Mistake(
        "luthier.adapters.lora.LoraLayer.compute_delta",
        lambda self, plain=LoraLayer.compute_delta: -plain(self),
        lambda: quantisation.compare_merged("lora", quantisation.NF4_DOUBLE),
    ),
    "an adapter on a packed base is scaled by the root of its rank": Mistake(
        "luthier.adapters.lora.LoraSettings.scale",
        property(lambda self: self.alpha / math.sqrt(self.rank)),
        lambda: quantisation.compare_layer_on_nf4("dora"),
    ),
    "NEFTune takes the length of the packed row": Mistake(
        "luthier.models.neftune.draw_noise", scale_noise, noise.compare_packed_row
    ),
    "NEFTune's noise is normal": Mistake(
        "torch.Tensor.uniform_",
        lambda self, *_: self.normal_(0, 1 / math.sqrt(3)),
        noise.compare_distribution,
        3e-3,
    ),
    "NEFTune's noise stops short of its bound": Mistake(
        "torch.Tensor.uniform_",
        lambda self, *_, plain=Tensor.uniform_: plain(self, -0.999, 0.999),
        noise.compare_bounds,
    ),
    "NEFTune's noise has one sign": Mistake(
        "torch.Tensor.uniform_",
        lambda self, *_, plain=Tensor.uniform_: plain(self, 0, 1),
        noise.compare_moments,
        2e-3,
    ),
    "Adam's moments are not corrected for their start at zero": Mistake(
        "luthier.optim.projected.compute_direction",
        lambda state, low, step, adam: compute_direction(state, low, 10**6, adam),
        optimizers.compare_galore_everywhere,
    ),
    "the projector is kept for a period too long": Mistake(
        "luthier.optim.settings.ProjectionSettings.gap", 6, optimizers.compare_fira_everywhere
    ),
    "APOLLO's limiter does nothing": Mistake(
        "luthier.optim.apollo.limit_growth",
        lambda state, norm: limit_growth(state, norm) ** 0,
        optimizers.compare_apollo_everywhere,
    ),
    "8-bit AdamW keeps all of its moments in 32 bits": Mistake(
        "luthier.optim.adamw_8bit.PartlyPreciseAdamW8bit.get_config",
        lambda self, *place, plain=AdamW8bit.get_config: {**plain(self, *place), "optim_bits": 32},
        optimizers.compare_adamw_8bit,
    ),
    "8-bit GaLore leaves its scale out": Mistake(
        "luthier.optim.settings.ProjectionSettings.scale", 1.0, optimizers.compare_galore_8bit
    ),
    "a restart adds half of the update": Mistake(
        "luthier.adapters.lora.LoraLayer.compute_delta",
        lambda self, plain=LoraLayer.compute_delta: plain(self) / 2,
        lambda: restarts.compare_function("lora"),
    ),
    "a restart loses what came before it": Mistake(
        "luthier.adapters.relora.FullWeights.write",
        lambda *_: None,
        lambda: restarts.compare_weights("lora"),
    ),
    "a restart adds nothing to the rank": Mistake(
        "luthier.adapters.relora.FullWeights.write", lambda *_: None, restarts.compare_rank, 0.0
    ),
    "pruning leaves a tenth of the moments": Mistake(
        "luthier.optim.prune.Pruning.ratio", 0.9, restarts.compare_pruning
    ),
    "DPO prefers the rejected": Mistake(
        "luthier.objectives.dpo.compute_dpo_losses",
        swapped(compute_dpo_losses),
        lambda: objectives.compare_with_trl("dpo"),
    ),
    "IPO aims at 1/β": Mistake(
        "luthier.objectives.ipo.compute_ipo_losses",
        lambda ratios, beta: compute_ipo_losses(ratios, beta / 2),
        lambda: objectives.compare_with_trl("ipo"),
    ),
    "SimPO has no margin": Mistake(
        "luthier.objectives.simpo.compute_simpo_losses",
        lambda means, beta, gamma: compute_simpo_losses(means, beta, 0.0),
        lambda: objectives.compare_with_trl("simpo"),
    ),
    "ORPO takes the probability for the odds": Mistake(
        "luthier.objectives.orpo.log1mexp",
        torch.zeros_like,
        lambda: objectives.compare_with_trl("orpo"),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_check_sees_a_mistake(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake = MISTAKES[name]
    monkeypatch.setattr(mistake.target, mistake.wrong)
    assert not mistake.check() <= 3 * mistake.limit


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("width", [16, 32, 48, 160])
def test_nf4_of_rows_that_are_no_whole_blocks_is_that_of_the_paper(
    width: int, double: bool
) -> None:
    # bitsandbytes 0.50.2 by itself mistakes the scales there, on a CPU with AVX-512.
    assert quantisation.compare_nf4_with_paper(double=double, width=width) < 1e-6


def test_a_difference_that_is_no_number_does_not_pass() -> None:
    check = Check("t", "r", "q", 1e-6, lambda: 0.0)
    assert not check.passes(largest([0.0, math.nan, 0.0]))
    assert check.passes(largest([0.0, 1e-6]))


def test_a_failed_check_is_marked_and_named() -> None:
    result = Result(Check("LoRA", "PEFT", "output", 1e-6, lambda: 0.0), 2e-5)
    assert format_line(list_cells(result), mark=not result.passes).endswith("2e-5  1e-6!")
    assert format_summary([result]) == "1 of 1 checks beyond their limit (!): LoRA (output)."


def test_every_line_fits_eighty_columns() -> None:
    for check in CHECKS:
        assert len(format_line(list_cells(Result(check, 1.23456e-16)), mark=True)) <= 80


def test_numbers_are_short() -> None:
    assert [format_number(x) for x in (0, 1e-6, 4.44e-16, 0.002)] == [
        "0",
        "1e-6",
        "4.4e-16",
        "2e-3",
    ]
