"""Reference log-probabilities: what they are, and that they are computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import VOCABULARY, build_model

from luthier.adapters.attach_lora import LoraTargets, attach_lora, find_layers, merge_lora
from luthier.adapters.lora import LoraSettings
from luthier.data.pair_batches import ScoredPair
from luthier.data.pairs import TokenizedPair
from luthier.errors import DataError
from luthier.models.packed import PackedModel
from luthier.models.quantize import Quantization, quantize_model
from luthier.recipe.load import parse_recipe
from luthier.train import reference
from luthier.train.goal import digest_reference_model
from luthier.train.reference import (
    attach_reference,
    compute_reference_log_probs,
    digest_reference,
    digest_weights,
    load_or_compute_reference,
)

CPU = torch.device("cpu")


def make_pairs(count: int = 5) -> list[TokenizedPair]:
    generator = np.random.default_rng(0)
    return [
        TokenizedPair(
            str(n), *(generator.integers(3, VOCABULARY, 2 + n).astype(np.int32) for _ in range(3))
        )
        for n in range(count)
    ]


def plain(model: Any, pairs: list[TokenizedPair]) -> np.ndarray:
    """Σ log p(answer token) from the family's own logits, pair by pair."""
    rows: list[list[float]] = []
    with torch.no_grad():
        for pair in pairs:
            prompt = len(pair.prompt_ids)
            row: list[float] = []
            for answer in (pair.chosen_ids, pair.rejected_ids):
                ids = torch.from_numpy(np.concatenate([pair.prompt_ids, answer])).long()
                log_probs = model(ids[None]).logits[0, prompt - 1 : -1].log_softmax(-1)
                row.append(float(log_probs.gather(1, ids[prompt:, None]).sum()))
            rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("row_tokens", [1, 20, 8192])  # one pair a row, a few, all
@pytest.mark.parametrize("family", ["qwen2", "gemma2"])  # with a shared prompt and without
def test_they_are_the_models_own_log_probabilities(
    family: str, row_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "ROW_TOKENS", row_tokens)
    packed = PackedModel(build_model(family)).train()
    found = compute_reference_log_probs(packed, make_pairs(), CPU)
    assert packed.training
    assert np.allclose(found, plain(build_model(family), make_pairs()), rtol=1e-6)


def test_a_fresh_adapter_leaves_the_reference_where_the_base_is() -> None:
    causal = build_model("qwen2")
    packed = PackedModel(causal)
    attach_lora(causal, LoraSettings(4, 8), LoraTargets(None, True), base_model="")
    found = compute_reference_log_probs(packed, make_pairs(), CPU)
    assert np.allclose(found, plain(build_model("qwen2"), make_pairs()), rtol=1e-6)


def test_after_a_merged_adapter_the_reference_is_the_merged_model_not_its_base() -> None:
    sft = build_model("qwen2")
    attach_lora(sft, LoraSettings(4, 8), LoraTargets(None, True), base_model="")
    with torch.no_grad():
        for layer in find_layers(sft).values():
            layer.lora_B.normal_(0, 0.3)
    supervised = plain(sft, make_pairs())
    merge_lora(sft)
    packed = PackedModel(sft)
    attach_lora(sft, LoraSettings(4, 8), LoraTargets(None, True), base_model="")
    found = compute_reference_log_probs(packed, make_pairs(), CPU)
    assert np.allclose(found, supervised, rtol=1e-6)
    assert not np.allclose(found, plain(build_model("qwen2"), make_pairs()), rtol=1e-2)


def test_they_are_computed_once_and_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, pairs = PackedModel(build_model("qwen2")), make_pairs()
    digest = digest_weights(packed.causal)
    first = load_or_compute_reference(packed, pairs, CPU, tmp_path, digest)

    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("computed again")

    monkeypatch.setattr(reference, "compute_reference_log_probs", refuse)
    again = load_or_compute_reference(packed, pairs, CPU, tmp_path, digest)
    assert np.array_equal(first, again)
    with pytest.raises(AssertionError, match="computed again"):
        load_or_compute_reference(packed, pairs[:4], CPU, tmp_path, digest)
    with pytest.raises(AssertionError, match="computed again"):
        load_or_compute_reference(packed, pairs, CPU, tmp_path, "another model")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    packed, pairs = PackedModel(build_model("qwen2")), make_pairs()
    load_or_compute_reference(packed, pairs, CPU, tmp_path, "m")
    (file,) = tmp_path.rglob("*.npy")
    file.write_bytes(b"no array")
    with pytest.raises(DataError, match="damaged"):
        load_or_compute_reference(packed, pairs, CPU, tmp_path, "m")


def test_the_key_tells_apart_tokens_their_boundaries_and_their_order() -> None:
    def pair(*parts: list[int]) -> TokenizedPair:
        return TokenizedPair("a", *(np.array(part, dtype=np.int32) for part in parts))

    one, two = pair([1, 2], [3], [4]), pair([1], [2, 3], [4])
    keys = {digest_reference("m", p) for p in ([one], [two], [one, two], [two, one])}
    assert len(keys) == 4
    assert digest_reference("m", [one]) != digest_reference("n", [one])


def test_the_digest_of_weights_sees_one_changed_number() -> None:
    model = build_model("qwen2", dtype=torch.bfloat16)
    before = digest_weights(model)
    assert digest_weights(build_model("qwen2", dtype=torch.bfloat16)) == before
    with torch.no_grad():
        model.model.norm.weight[3] += 1
    assert digest_weights(model) != before


PACKINGS = (
    Quantization(4, "nf4", True),
    Quantization(4, "nf4", False),
    Quantization(4, "fp4", False),
    Quantization(8),
)


def build_packed(quantization: Quantization, factor: float = 1.0) -> Any:
    """A model whose linear layers were all scaled by `factor` before they were packed."""
    model = build_model("qwen2", dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.model.layers.named_parameters():
            if name.endswith("proj.weight"):
                parameter.mul_(factor)
    quantize_model(model, quantization)
    return model


@pytest.mark.parametrize("quantization", PACKINGS)
def test_the_digest_tells_apart_packed_weights_of_the_same_codes(
    quantization: Quantization,
) -> None:
    once, twice = build_packed(quantization), build_packed(quantization, 2.0)
    assert digest_weights(once) == digest_weights(build_packed(quantization))
    layers = [model.model.layers[0].mlp.up_proj for model in (once, twice)]
    assert torch.equal(layers[0].codes, layers[1].codes)
    assert digest_weights(once) != digest_weights(twice)


def test_the_digest_tells_apart_the_ways_to_pack() -> None:
    assert len({digest_weights(build_packed(quantization)) for quantization in PACKINGS}) == 4


def test_the_key_holds_the_packing_the_precision_and_the_configuration() -> None:
    values = {"base_model": "embedded", "datasets": [{"path": "x", "type": "preference"}]}
    values |= {"learning_rate": 1e-4, "rl": "dpo"}
    packed = {"adapter": "lora", "lora_r": 2, "lora_alpha": 4, "lora_target_linear": True}
    recipes = [
        parse_recipe({**values, **changes}).recipe
        for changes in ({}, {**packed, "load_in_8bit": True}, {**packed, "load_in_4bit": True})
    ]
    model = build_model("qwen2")
    keys = [digest_reference_model(recipe, model, "float32") for recipe in recipes]
    keys.append(digest_reference_model(recipes[0], model, "bfloat16"))
    model.config.rope_parameters["rope_theta"] = 5.0
    keys.append(digest_reference_model(recipes[0], model, "float32"))
    assert len(set(keys)) == 5


def test_each_pair_gets_its_row() -> None:
    pairs = make_pairs(2)
    scored = attach_reference(pairs, np.array([[-1.0, -2.0], [-3.0, -4.0]]))
    assert scored == [ScoredPair(pairs[0], -1.0, -2.0), ScoredPair(pairs[1], -3.0, -4.0)]
