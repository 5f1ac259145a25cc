"""ReLoRA's restarts beside the equations of its paper (Lialin et al. 2023), written in NumPy.

Shapes: `I` input width, `O` output width, `R` rank.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from luthier.adapters.attach_lora import LoraTargets, attach_lora, find_layers
from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.lora import LoraLayer, LoraSettings
from luthier.adapters.relora import make_restartable, read_weight
from luthier.adapters.update_rank import measure_update_rank
from luthier.models.quantize import Quantization, quantize_model
from luthier.optim.prune import Pruning, prune_moments
from verification.check import largest, relative_error
from verification.layers import METHODS
from verification.models import build_model
from verification.peft_models import logits, shift

FAMILIES = ("llama", "gpt2")
RANK, ALPHA, PARTS = 4, 8, 3

Array = np.ndarray[Any, np.dtype[np.float64]]


class Run(NamedTuple):
    model: Any
    adapter: AttachedAdapter
    layers: dict[str, LoraLayer]
    start: dict[str, Array]  # each layer's weight (O, I) at the beginning


def begin(
    family: str, method: str, quantization: Quantization | None = None, dtype: Any = torch.float64
) -> Run:
    """A restartable adapter on a random model, before its first step."""

    def load() -> Any:
        return build_model(family, dtype=dtype)

    model = load()
    if quantization is not None:
        quantize_model(model, quantization)
    torch.manual_seed(0)
    settings = LoraSettings(RANK, ALPHA, **METHODS[method])
    adapter = attach_lora(model, settings, LoraTargets(None, True), base_model="", dtype=dtype)
    layers = find_layers(model)
    full = load()
    start = {name: read_weight(full, name).double().numpy().copy() for name in layers}
    return Run(model, make_restartable(model, adapter, load), layers, start)


def train_part(run: Run, part: int) -> None:
    """A stand-in for the steps of one part: every trained tensor goes somewhere else."""
    torch.manual_seed(part + 10)
    shift(run.adapter.parameters)
    run.adapter.refresh()


def restart(run: Run, part: int) -> None:
    assert run.adapter.base is not None
    run.adapter.base.restart(part)


def compare_function(method: str) -> float:
    """The model's logits right before and right after each restart."""
    differences: list[float] = []
    for family in FAMILIES:
        run = begin(family, method)
        for part in range(PARTS):
            train_part(run, part)
            before = logits(run.model)
            restart(run, part)
            assert not any(bool(layer.lora_B.any()) for layer in run.layers.values())
            differences.append(relative_error(logits(run.model), before))
    return largest(differences)


def compare_weights(method: str) -> float:
    """The saved model's weights after three parts, against algorithm 1 from the same A and B."""
    differences: list[float] = []
    for family in FAMILIES:
        run = begin(family, method)
        expected = run_parts(run)
        with tempfile.TemporaryDirectory() as folder:
            run.adapter.save(Path(folder))
            saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
        for name, weight in expected.items():
            differences.append(relative_error(read_weight(saved, name), torch.from_numpy(weight)))
    return largest(differences)


def compare_weights_on_nf4() -> float:
    """The weights in full precision that stand behind a packed base, after three parts."""
    differences: list[float] = []
    for family in FAMILIES:
        run = begin(family, "lora", Quantization(4), torch.float32)
        expected = run_parts(run)
        with tempfile.TemporaryDirectory() as folder:
            run.adapter.save(Path(folder))
        assert run.adapter.base is not None
        for name, weight in expected.items():
            found = run.adapter.base.weight(name).double()
            differences.append(relative_error(found, torch.from_numpy(weight)))
    return largest(differences)


def run_parts(run: Run) -> dict[str, Array]:
    """Three parts with two restarts between them; what the weights are by algorithm 1."""
    expected = dict(run.start)
    for part in range(PARTS):
        train_part(run, part)
        for name, layer in run.layers.items():
            expected[name] = add_update(expected[name], layer)
        if part < PARTS - 1:
            restart(run, part)
    return expected


def add_update(weight: Array, layer: LoraLayer) -> Array:
    """W + s·B A (algorithm 1, line 6); for DoRA each row brought to its magnitude's length."""
    a, b = (part.detach().double().numpy() for part in (layer.lora_A, layer.lora_B))
    divisor = np.sqrt(RANK) if layer.settings.scaling == "alpha/sqrt(rank)" else RANK
    merged = weight + ALPHA / divisor * b @ a
    if layer.magnitude is None:
        return merged
    magnitude = layer.magnitude.detach().double().numpy()
    return magnitude[:, None] * merged / np.linalg.norm(merged, axis=1, keepdims=True)


def compare_rank() -> float:
    """Ranks of W − W₀ after three parts of rank 4: NumPy's, the run's own figure, and 3 · 4."""
    differences: list[float] = []
    for family in FAMILIES:
        run = begin(family, "lora")
        for part in range(PARTS):
            train_part(run, part)
            restart(run, part)
        differences += [
            abs(
                PARTS * RANK - int(np.linalg.matrix_rank(layer.weight_OI.numpy() - run.start[name]))
            )
            for name, layer in run.layers.items()
        ]
        with tempfile.TemporaryDirectory() as folder:
            run.adapter.save(Path(folder))
        reported = measure_update_rank(run.adapter, lambda family=family: build_model(family))
        assert reported is not None
        differences += [abs(PARTS * RANK - rank) for rank in reported]
    return largest(differences)


def count_rank(matrix: Array) -> int:
    return int(np.linalg.matrix_rank(matrix))


def compare_pruning() -> float:
    """Adam's moments after a restart, against the paper's 99% quantile of each.

    A first moment goes too where its second does, which is not in the paper: it would be divided by
    zero.
    """
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(60, 50))
    optimizer = torch.optim.AdamW([parameter], lr=0.01)
    for _ in range(3):
        parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    state = optimizer.state[parameter]
    first, second = (state[name].double().numpy() for name in ("exp_avg", "exp_avg_sq"))
    second_kept = np.abs(second) > np.quantile(np.abs(second), 0.99)
    first_kept = (np.abs(first) > np.quantile(np.abs(first), 0.99)) & second_kept
    prune_moments(optimizer, [parameter], Pruning("magnitude", 0.99), seed=0)
    return largest(
        [
            relative_error(state["exp_avg"].double(), torch.from_numpy(first * first_kept)),
            relative_error(state["exp_avg_sq"].double(), torch.from_numpy(second * second_kept)),
        ]
    )
