"""A restart leaves the function as it was, begins anew, and the parts add up to a larger rank."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import build_model, relative_error
from torch import nn

from luthier.adapters import update_rank
from luthier.adapters.attach_lora import LoraTargets, attach_lora, find_layers
from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.lora import LoraLayer, LoraSettings
from luthier.adapters.relora import make_restartable, merge_exactly
from luthier.adapters.update_rank import count_rank
from luthier.models.quantize import (
    Quantization,
    QuantizedLinear,
    pack_weight,
    quantize_model,
    unpack_weight,
)

FAMILIES = ("gpt2", "gpt_neox", "gemma", "llama", "mistral", "qwen2", "qwen3")
KINDS = {
    "lora": LoraSettings(4, 8),
    "dora": LoraSettings(4, 8, magnitude=True),
    "rslora": LoraSettings(4, 8, scaling="alpha/sqrt(rank)"),
}
IDS = torch.arange(3, 23).view(2, 10)


class Restartable(NamedTuple):
    model: Any
    adapter: AttachedAdapter
    layers: dict[str, LoraLayer]


def build_restartable(
    family: str,
    kind: str = "lora",
    *,
    dtype: torch.dtype = torch.float64,
    quantization: Quantization | None = None,
    head_alone: bool = False,
    **changes: Any,
) -> Restartable:
    accurate = torch.promote_types(dtype, torch.float32)

    def load() -> Any:
        return build_model(family, dtype=accurate, **changes)

    model = load().to(dtype)
    if quantization is not None:
        quantize_model(model, quantization)
    torch.manual_seed(0)
    targets = LoraTargets(["lm_head"], False) if head_alone else LoraTargets(None, True)
    attached = attach_lora(model, KINDS[kind], targets, base_model="tiny", dtype=accurate)
    return Restartable(model, make_restartable(model, attached, load), find_layers(model))


@torch.no_grad()
def move(adapter: AttachedAdapter, seed: int = 1) -> None:
    """A stand-in for training: every trained parameter is somewhere else."""
    torch.manual_seed(seed)
    for parameter in adapter.parameters.values():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    adapter.refresh()


def restart(adapter: AttachedAdapter, seed: int = 7) -> None:
    assert adapter.base is not None
    adapter.base.restart(seed)


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(IDS).logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_restart_leaves_the_function_as_it_was(family: str, kind: str) -> None:
    made = build_restartable(family, kind)
    start = logits(made.model)
    move(made.adapter)
    before = logits(made.model)
    assert relative_error(before, start) > 1e-3
    restart(made.adapter)
    assert relative_error(logits(made.model), before) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_restart_the_update_is_a_new_one_of_zero(kind: str) -> None:
    made = build_restartable("llama", kind)
    before = {name: p.detach().clone() for name, p in made.adapter.parameters.items()}
    move(made.adapter)
    restart(made.adapter)
    for name, layer in made.layers.items():
        assert not layer.lora_B.any()
        assert not torch.equal(layer.lora_A, before[f"{name}.lora_A"])
        # As PEFT and the paper's code draw it: uniform within ±1/√I.
        bound = 1 / math.sqrt(layer.in_features)
        assert 0.8 * bound < float(layer.lora_A.detach().abs().max()) <= bound
        if layer.magnitude is not None:
            rows = layer.weight_OI.norm(dim=1)
            assert relative_error(layer.magnitude, rows) < 1e-12


def test_what_a_restart_draws_is_the_seed_s_alone() -> None:
    drawn: list[torch.Tensor] = []
    for place, seed in enumerate((1, 1, 2)):
        made = build_restartable("llama")
        torch.manual_seed(place)
        restart(made.adapter, seed)
        drawn.append(torch.cat([layer.lora_A.flatten() for layer in made.layers.values()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_bfloat16_weight_is_the_float32_sum_of_all_parts_rounded_once(tmp_path: Path) -> None:
    made = build_restartable("gpt2", dtype=torch.bfloat16)
    plain = build_restartable("gpt2", dtype=torch.float32)
    total = {name: layer.weight_OI.clone() for name, layer in plain.layers.items()}
    for part in (1, 2, 3):
        move(made.adapter, seed=part)
        for name, layer in made.layers.items():
            total[name] = total[name] + layer.compute_delta()
        if part < 3:
            restart(made.adapter, seed=part)
            for name, layer in made.layers.items():
                assert torch.equal(layer.weight_OI, total[name].bfloat16())
    made.adapter.save(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    for name, expected in total.items():
        assert torch.equal(saved[f"{name}.weight"].T, expected.bfloat16())
        assert made.adapter.base is not None
        assert torch.equal(made.adapter.base.weight(name), expected)


def test_merges_too_small_for_bfloat16_add_up_between_restarts() -> None:
    # A bfloat16 number of 1 changes in steps of 2⁻⁷; eight parts of 2⁻⁹ are four times half a step.
    made = build_restartable("llama", dtype=torch.bfloat16)
    layer = next(iter(made.layers.values()))
    assert made.adapter.base is not None
    made.adapter.base.write(
        {k: torch.ones_like(v) if v.ndim else v for k, v in made.adapter.base.read().items()}
    )
    for part in range(8):
        with torch.no_grad():
            layer.lora_A.zero_()[0] = 1.0
            layer.lora_B.zero_()[:, 0] = 2**-9 / layer.settings.scale
        restart(made.adapter, seed=part)
    assert torch.equal(layer.weight_OI, torch.full_like(layer.weight_OI, 1 + 8 * 2**-9))


def test_an_adapter_on_a_tied_head_leaves_the_embedding_alone() -> None:
    made = build_restartable("gemma", head_alone=True, tie_word_embeddings=True)
    embedding = made.model.get_input_embeddings().weight
    before, start = embedding.detach().clone(), logits(made.model)
    move(made.adapter)
    moved = logits(made.model)
    restart(made.adapter)
    assert torch.equal(embedding, before)
    assert relative_error(logits(made.model), moved) < 1e-12
    assert relative_error(moved, start) > 1e-3


QUANTIZATIONS = {
    "nf4": Quantization(4),
    "fp4": Quantization(4, "fp4", double=False),
    "8 bit": Quantization(8),
}


@pytest.mark.parametrize("name", QUANTIZATIONS)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_quantised_base_is_packed_anew_from_the_sum_of_all_parts(family: str, name: str) -> None:
    quantization = QUANTIZATIONS[name]
    made = build_restartable(family, dtype=torch.float32, quantization=quantization)
    plain = build_restartable(family, dtype=torch.float32)
    total = {key: layer.weight_OI.clone() for key, layer in plain.layers.items()}
    for part in (1, 2):
        move(made.adapter, seed=part)
        for key, layer in made.layers.items():
            total[key] = total[key] + layer.compute_delta()
        restart(made.adapter, seed=part)
    for key, layer in made.layers.items():
        assert isinstance(layer.base, QuantizedLinear)
        assert layer.base.quantization == quantization
        expected = unpack_weight(pack_weight(total[key], quantization))
        assert torch.equal(layer.weight_OI, expected)


def test_adding_a_small_update_to_an_unpacked_weight_would_lose_it() -> None:
    # Why the sum is formed with the weight in full precision: a weight that stands on one of 16
    # values stays there, one that was rounded to it may cross to the next.
    torch.manual_seed(0)
    weight, quantization = torch.randn(128, 128), Quantization(4)
    update = 0.03 * torch.randn(128, 2) @ torch.randn(2, 128)
    packed = unpack_weight(pack_weight(weight, quantization))
    kept = unpack_weight(pack_weight(weight + update, quantization)) - packed
    lost = unpack_weight(pack_weight(packed + update, quantization)) - packed

    def share(change: torch.Tensor) -> float:
        return float((change * update).sum() / update.square().sum())

    assert share(kept) == pytest.approx(1.0, abs=0.1)
    assert share(lost) < 0.5


@pytest.mark.parametrize("quantization", [None, Quantization(4), Quantization(8)])
def test_what_is_kept_of_a_base_brings_it_back_to_the_bit(
    quantization: Quantization | None,
) -> None:
    made = build_restartable("gpt2", "dora", dtype=torch.float32, quantization=quantization)
    move(made.adapter)
    restart(made.adapter)
    other = build_restartable("gpt2", "dora", dtype=torch.float32, quantization=quantization)
    assert made.adapter.base is not None
    assert other.adapter.base is not None
    other.adapter.base.write(made.adapter.base.read())
    with torch.no_grad():
        for name, parameter in other.adapter.parameters.items():
            parameter.copy_(made.adapter.parameters[name])
    other.adapter.refresh()
    assert torch.equal(logits(other.model), logits(made.model))
    assert other.adapter.base.roundings() == made.adapter.base.roundings()


# --- the rank of the total update


def low_rank(out: int, width: int, rank: int, seed: int, scale: float = 0.01) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(out, rank, generator=generator)
    return scale * left @ torch.randn(rank, width, generator=generator)


def merge_parts(weight: torch.Tensor, ranks: list[int]) -> tuple[torch.Tensor, float]:
    rounding = 0.0
    for seed, rank in enumerate(ranks):
        merged = merge_exactly(weight, low_rank(*weight.shape, rank, seed).float())
        weight, rounding = merged.weight_OI, rounding + merged.rounding
    return weight, rounding


@pytest.mark.parametrize(
    ("ranks", "expected"), [([4], 4), ([4, 4, 4], 12), ([1, 2, 3], 6), ([], 0)]
)
def test_the_rank_of_parts_that_were_merged_is_their_sum(ranks: list[int], expected: int) -> None:
    start = torch.randn(48, 64, generator=torch.Generator().manual_seed(9))
    final, rounding = merge_parts(start, ranks)
    assert count_rank(final, start, rounding) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_rounding_is_never_counted_as_rank(dtype: torch.dtype) -> None:
    start = torch.randn(96, 128, generator=torch.Generator().manual_seed(9)).to(dtype)
    final, rounding = merge_parts(start, [4, 4, 4])
    # Without a tolerance the difference has full rank.
    exact = (final.double() - start.double()).numpy()
    assert np.linalg.matrix_rank(exact, tol=1e-12) == 96
    assert 4 < count_rank(final, start, rounding) <= 12


def test_the_measured_rounding_is_the_largest_singular_value_of_what_was_lost() -> None:
    weight = torch.randn(96, 128, generator=torch.Generator().manual_seed(9)).bfloat16()
    delta = low_rank(96, 128, 4, seed=0).float()
    merged = merge_exactly(weight, delta)
    lost = merged.weight_OI.double() - (weight.double() + delta.double())
    assert merged.rounding == pytest.approx(float(torch.linalg.matrix_norm(lost, 2)), rel=0.05)


@pytest.mark.parametrize("rank", [3, 40, 250])
def test_a_wide_matrix_is_counted_in_a_subspace_with_the_same_answer(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update_rank, "EXACT_WIDTH", 64)
    monkeypatch.setattr(update_rank, "FIRST_SKETCH", 32)
    start = torch.randn(300, 400, generator=torch.Generator().manual_seed(9))
    merged = merge_exactly(start, low_rank(300, 400, rank, seed=1))
    assert count_rank(merged.weight_OI, start, merged.rounding) == rank


# --- the whole algorithm


def test_training_with_restarts_equals_the_paper_s_algorithm_written_plainly() -> None:
    """One linear layer, squared error, float64: merge, reset, prune, warm up again."""
    from luthier.optim.prune import Pruning
    from luthier.optim.schedules import Jags, Schedule
    from luthier.train.restarts import Restarts

    torch.manual_seed(3)
    inputs, wanted = torch.randn(16, 6).double(), torch.randn(16, 5).double()
    linear = nn.Linear(6, 5, bias=False).double()
    start = linear.weight.detach().clone().numpy()
    layer = LoraLayer(linear, LoraSettings(2, 4), torch.float64)
    model = nn.Sequential(layer)
    adapter = restartable_alone(model, layer)
    schedule = Schedule("cosine", 9, 1, jags=Jags((3, 6), warmup_steps=2))
    restarts = Restarts(frozenset((3, 6)), Pruning("magnitude", 0.6), seed=11)
    optimizer = torch.optim.AdamW(adapter.parameters.values(), lr=0.05, weight_decay=0.1)
    drawn = [layer.lora_A.detach().clone().numpy()]
    for step in range(9):
        optimizer.param_groups[0]["lr"] = 0.05 * schedule.factor(step)
        loss = (model(inputs) - wanted).square().sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        adapter.refresh()
        if restarts.due(step + 1):
            restarts.perform(step + 1, adapter, optimizer)
            drawn.append(layer.lora_A.detach().clone().numpy())
    found = layer.weight_OI + layer.compute_delta()
    factors = [0.0, *(0.5 * (1 + math.cos(math.pi * (step - 1) / 8)) for step in range(1, 9))]
    for step, ramp in ((3, 0.0), (4, 0.5), (6, 0.0), (7, 0.5)):
        factors[step] *= ramp
    expected = train_plainly(start, drawn, inputs.numpy(), wanted.numpy(), factors)
    assert relative_error(found.detach(), torch.from_numpy(expected)) < 1e-10


def restartable_alone(model: Any, layer: LoraLayer) -> AttachedAdapter:
    """`make_restartable` for a model that is one layer."""
    parameters = {"0.lora_A": layer.lora_A, "0.lora_B": layer.lora_B}
    roles: Any = {"0.lora_A": "lora_A", "0.lora_B": "lora_B"}
    attached = AttachedAdapter(parameters, roles, lambda: None, lambda _: None, "adapter")
    model.get_output_embeddings = lambda: None
    return make_restartable(model, attached, lambda: None)


def train_plainly(
    weight: np.ndarray,
    drawn: list[np.ndarray],
    inputs: np.ndarray,
    wanted: np.ndarray,
    factors: list[float],
) -> np.ndarray:
    """Algorithm 1 in NumPy, with AdamW by its equations; only the draws of A are given."""
    scale, rate, decay, prune = 4 / 2, 0.05, 0.1, 0.6
    a, b = drawn[0].copy(), np.zeros((5, 2))
    moments = {
        name: [np.zeros_like(value), np.zeros_like(value)] for name, value in (("a", a), ("b", b))
    }
    for step in range(9):
        error = 2 * (inputs @ (weight + scale * b @ a).T - wanted)
        whole = error.T @ inputs
        gradients = {"a": scale * b.T @ whole, "b": scale * whole @ a.T}
        for name, value in (("a", a), ("b", b)):
            first, second = moments[name]
            first += 0.1 * (gradients[name] - first)
            second += 0.001 * (gradients[name] ** 2 - second)
            lifted = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
            value -= rate * factors[step] * decay * value
            value -= rate * factors[step] * lifted[0] / (np.sqrt(lifted[1]) + 1e-8)
        if step + 1 in (3, 6):
            weight = weight + scale * b @ a
            a, b = drawn[(step + 1) // 3].copy(), np.zeros((5, 2))
            for first, second in moments.values():
                for moment in (first, second):
                    moment[np.abs(moment) <= np.quantile(np.abs(moment), prune)] = 0
                first[second == 0] = 0
    return weight + scale * b @ a
