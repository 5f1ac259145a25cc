"""Every family with every kind of base: trains, saves, loads and merges."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tiny_models import build_model, relative_error
from torch import Tensor

from luthier.adapters.attach_lora import LoraTargets, attach_lora, merge_lora
from luthier.adapters.load_adapter import load_adapter
from luthier.adapters.lora import LoraSettings
from luthier.models.load import load_base_model
from luthier.models.quantize import Quantization

FAMILIES = ["gpt2", "gpt_neox", "gemma", "llama", "mistral", "qwen2", "qwen3"]
IDS = torch.arange(3, 15).reshape(2, 6)


class Method(NamedTuple):
    magnitude: bool
    quantization: Quantization | None


METHODS = {
    "lora": Method(False, None),
    "dora": Method(True, None),
    "qlora": Method(False, Quantization(4)),
    "qdora": Method(True, Quantization(4)),
    "8 bit": Method(False, Quantization(8)),
}


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a base model in float32."""
    folder = tmp_path_factory.mktemp(request.param)
    model = build_model(request.param, dtype=torch.float32, initializer_range=0.1)
    model.save_pretrained(folder)
    return str(folder)


def load(folder: str | Path, quantization: Quantization | None = None) -> Any:
    return load_base_model(str(folder), dtype=torch.float32, quantization=quantization)


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize("method", METHODS)
def test_a_family_trains_saves_loads_and_merges(base: str, method: str, tmp_path: Path) -> None:
    magnitude, quantization = METHODS[method]
    model = load(base, quantization)
    untrained = logits(model)
    torch.manual_seed(0)
    settings = LoraSettings(4, 8, magnitude=magnitude)
    adapter = attach_lora(model, settings, LoraTargets(None, True), base_model=base)
    assert relative_error(logits(model), untrained) < 1e-4
    losses = train(model, adapter, steps=3)
    assert losses[-1] < losses[0]
    trained = logits(model)
    adapter.save(tmp_path / "adapter")

    loaded = load(base, quantization)
    load_adapter(loaded, tmp_path / "adapter", base_model=base)
    assert torch.equal(logits(loaded), trained)

    merge_lora(loaded)
    assert relative_error(logits(loaded), trained) < 1e-4
    assert relative_error(logits(loaded), untrained) > 1e-3
    loaded.save_pretrained(tmp_path / "merged")
    assert torch.equal(logits(load(tmp_path / "merged")), logits(loaded))


def train(model: Any, adapter: Any, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW(adapter.parameters.values(), lr=1e-2)
    losses: list[float] = []
    for _ in range(steps):
        loss = model.train()(IDS, labels=IDS).loss
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
        optimizer.zero_grad()
        adapter.refresh()
    return losses
