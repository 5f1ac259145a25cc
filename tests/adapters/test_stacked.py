"""A base model that is an earlier run: found, merged, packed, and scored as it was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import build_model, relative_error, save_base_model
from torch import Tensor, nn

from luthier import api
from luthier.adapters.attach_lora import find_layers
from luthier.adapters.stacked import is_rounded, load_stacked_model, load_unrounded_model
from luthier.errors import ModelError
from luthier.evaluate.model import find_model, load_model
from luthier.models.load import load_base_model, load_tokenizer, read_saved_dtype
from luthier.models.places import digest_base, find_root
from luthier.models.quantize import (
    Quantization,
    QuantizedLinear,
    quantize_model,
)
from luthier.recipe.load import parse_recipe
from luthier.train.start import note_repacking

IDS = torch.arange(3, 15).reshape(2, 6)
LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_target_linear": True}
QLORA = {**LORA, "adapter": "qlora", "load_in_4bit": True, "peft_use_dora": True}


def train(base: Path | str, rows: Path, output: Path, keys: dict[str, Any]) -> None:
    recipe = {"base_model": str(base), "datasets": [{"path": str(rows)}], "bf16": False, **keys}
    api.train({**recipe, "learning_rate": 5e-2, "max_steps": 2, "sequence_len": 256}, output)


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def ask(name: Path | str) -> Tensor:
    return logits(load_model(str(name)).causal)


class Runs:
    """base → math (LoRA) → domain (QLoRA on math) → full (on domain), by relative paths."""

    def __init__(self, root: Path, rows: Path) -> None:
        self.root = root
        save_base_model(root / "base", initializer_range=0.05)
        for name, base, keys in (
            ("math", "base", LORA),
            ("domain", "runs/math", QLORA),
            ("full", "runs/domain", {}),
        ):
            train(base, rows, root / "runs" / name, keys)

    def __getitem__(self, name: str) -> Path:
        return self.root / "runs" / name


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, chat_file: Path) -> Runs:
    root = tmp_path_factory.mktemp("stack")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return Runs(root, chat_file)


def test_a_run_that_was_an_adapter_is_merged_in_float32(runs: Runs) -> None:
    stacked = load_stacked_model(str(runs["math"]), dtype=torch.float32)
    assert relative_error(logits(stacked), ask(runs["math"])) < 1e-6
    assert not [name for name, _ in stacked.named_parameters() if "lora" in name]
    assert relative_error(logits(stacked), ask(runs.root / "base")) > 1e-2


def test_a_full_run_is_its_model(runs: Runs) -> None:
    stacked = load_stacked_model(str(runs["full"]), dtype=torch.float32)
    assert torch.equal(logits(stacked), ask(runs["full"] / "model"))


def test_a_stack_is_packed_after_merging(runs: Runs) -> None:
    packed = load_stacked_model(
        str(runs["math"]), dtype=torch.float32, quantization=Quantization(4)
    )
    assert [module for module in packed.modules() if isinstance(module, QuantizedLinear)]
    merged = ask(runs["math"])
    assert 1e-4 < relative_error(logits(packed), merged) < 0.5


def test_a_run_on_a_packed_base_is_scored_on_the_packed_base(runs: Runs) -> None:
    model = load_model(str(runs["domain"])).causal
    assert [module for module in model.modules() if isinstance(module, QuantizedLinear)]
    assert find_model(str(runs["domain"])).quantization == Quantization(4)
    assert torch.equal(ask(runs["domain"] / "adapter"), logits(model))


def test_a_packed_base_counts_all_its_weights(runs: Runs) -> None:
    found = {
        json.loads((runs[name] / "done.json").read_text())["total_parameters"]
        for name in ("math", "domain", "full")
    }
    assert found == {sum(p.numel() for p in build_model("qwen2").parameters())}


def test_merging_a_stack_gives_an_ordinary_model(runs: Runs, tmp_path: Path) -> None:
    api.merge(runs["domain"], tmp_path / "merged")
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert "quantization_config" not in config
    assert relative_error(ask(tmp_path / "merged"), ask(runs["domain"])) < 1e-5
    with pytest.raises(ModelError, match="has no adapter to merge"):
        api.merge(runs["full"], tmp_path / "again")


def test_a_merge_keeps_the_precision_of_the_base_at_the_bottom(
    runs: Runs, chat_file: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    save_base_model(half)
    load_base_model(str(half), dtype=torch.bfloat16).save_pretrained(half)
    train(half, chat_file, tmp_path / "one", QLORA)
    train(tmp_path / "one", chat_file, tmp_path / "two", LORA)
    assert find_root(str(tmp_path / "two")) == str(half)
    assert read_saved_dtype(str(tmp_path / "two")) == torch.bfloat16
    api.merge(tmp_path / "two", tmp_path / "merged")
    assert read_saved_dtype(str(tmp_path / "merged")) == torch.bfloat16
    assert relative_error(ask(tmp_path / "merged"), ask(tmp_path / "two")) < 0.05


@pytest.mark.parametrize("name", ["math", "domain", "full"])
def test_relative_bases_are_found_from_another_folder_and_after_a_move(
    name: str, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ask(runs[name])
    monkeypatch.chdir(tmp_path)
    assert torch.equal(ask(runs[name]), expected)
    moved = tmp_path / "elsewhere"
    runs.root.rename(moved)
    try:
        assert torch.equal(ask(moved / "runs" / name), expected)
    finally:
        moved.rename(runs.root)


def test_a_hub_id_is_not_taken_for_a_folder_that_happens_to_lie_above(
    runs: Runs, tmp_path: Path
) -> None:
    adapter = tmp_path / "org" / "run" / "adapter"
    adapter.mkdir(parents=True)
    (tmp_path / "org" / "model").mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/model"}')
    assert find_model(str(adapter)).base == "org/model"


def test_the_tokenizer_of_a_run_is_the_one_it_trained_with(runs: Runs) -> None:
    for name in ("math", "domain", "full"):
        tokenizer = load_tokenizer(str(runs[name])).tokenizer
        assert (
            tokenizer("ab")["input_ids"]
            == load_tokenizer(str(runs.root / "base")).tokenizer("ab")["input_ids"]
        )


def test_the_digest_of_a_run_changes_with_its_adapter_and_with_its_base(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {digest_base(str(runs[name])) for name in ("math", "domain", "full")}
    digests.add(digest_base(str(runs.root / "base")))
    assert len(digests) == 4
    assert None not in digests
    recorded = json.loads((runs["domain"] / "provenance.json").read_text())["model"]
    assert recorded == {
        "name": "runs/math",
        "path": str(runs["math"]),
        "sha256": digest_base(str(runs["math"])),
    }
    weights = runs["math"] / "adapter" / "adapter_model.safetensors"
    before = digest_base(str(runs["domain"]))
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"x")
    try:
        assert digest_base(str(runs["domain"])) != before
    finally:
        weights.write_bytes(content)


def test_an_unfinished_run_is_no_base(tmp_path: Path, chat_file: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("base_model: embedded\n")
    with pytest.raises(ModelError, match="a run without a result"):
        load_stacked_model(str(tmp_path), dtype=torch.float32)


AMOUNTS = {"bf16": False, "max_steps": 4, "sequence_len": 256, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def packed_runs(tmp_path_factory: pytest.TempPathFactory, chat_file: Path) -> Path:
    """base → one (QLoRA with DoRA) → two (QLoRA on one), moved by less than a step of 4 bit."""
    root = tmp_path_factory.mktemp("packed")
    save_base_model(root / "base", initializer_range=0.05)
    for name, base, keys in (("one", "base", QLORA), ("two", "one", {**QLORA, "seed": 7})):
        recipe = {"base_model": str(root / base), "datasets": [{"path": str(chat_file)}]}
        api.train({**recipe, **keys, **AMOUNTS}, root / name)
    return root


def share(effect: Tensor, wanted: Tensor) -> float:
    """The part of `wanted` that `effect` holds: 1 for all, 0 for none of it."""
    return float((effect * wanted).sum() / wanted.square().sum())


def weights(model: Any) -> dict[str, Tensor]:
    return {
        name: module.weight.detach()
        for name, module in model.named_modules()
        if "layers" in name and isinstance(module, nn.Linear | QuantizedLinear)
    }


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_stage_that_packs_anew_keeps_what_the_quantised_run_below_has_learnt(
    name: str, packed_runs: Path
) -> None:
    run, pack = str(packed_runs / name), Quantization(4)
    base = weights(load_stacked_model(str(packed_runs / "base"), dtype=torch.float32))
    start = load_stacked_model(str(packed_runs / "base"), dtype=torch.float32, quantization=pack)
    exact = weights(load_unrounded_model(run, dtype=torch.float32))
    packed = weights(load_stacked_model(run, dtype=torch.float32, quantization=pack))
    snapped = load_stacked_model(run, dtype=torch.float32)
    quantize_model(snapped, pack)
    wanted = torch.cat([(exact[key] - base[key]).flatten() for key in base])

    def change(model: dict[str, Tensor]) -> Tensor:
        return torch.cat([(model[key] - value).flatten() for key, value in weights(start).items()])

    assert share(change(packed), wanted) == pytest.approx(1.0, abs=0.1)
    assert share(change(weights(snapped)), wanted) < 0.6


def test_before_packing_each_update_stands_on_the_base_in_full_precision(
    packed_runs: Path,
) -> None:
    one = str(packed_runs / "one")
    trained = load_model(one).causal
    exact = weights(load_unrounded_model(one, dtype=torch.float32))
    base = weights(load_base_model(str(packed_runs / "base"), dtype=torch.float32))
    for name, layer in find_layers(trained).items():
        expected = base[name] + layer.compute_merged() - layer.weight_OI
        assert relative_error(exact[name], expected) < 1e-6


def test_only_a_stack_with_a_quantised_run_in_it_is_rounded(runs: Runs, packed_runs: Path) -> None:
    assert [is_rounded(str(runs[name])) for name in ("math", "domain", "full")] == [
        False,
        True,
        False,
    ]
    assert is_rounded(str(packed_runs / "two"))
    assert not is_rounded("embedded")
    same = load_unrounded_model(str(runs["math"]), dtype=torch.float32)
    assert torch.equal(
        logits(same), logits(load_stacked_model(str(runs["math"]), dtype=torch.float32))
    )


def test_a_run_that_packs_a_quantised_run_anew_is_told_so(packed_runs: Path) -> None:
    recipe = parse_recipe(
        {"base_model": str(packed_runs / "one"), "datasets": [{"path": "x"}], **QLORA, **AMOUNTS}
    ).recipe
    (note,) = note_repacking(recipe)
    assert "packed anew" in note
    plain = recipe.model_copy(update={"load_in_4bit": False, "adapter": "lora"})
    assert note_repacking(plain) == ()
