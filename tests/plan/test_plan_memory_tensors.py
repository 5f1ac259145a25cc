"""The memory model beside the tensors that our own loop really keeps alive."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from live_tensors import LiveTensors
from plan_cases import make_machine, make_workload
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.adapters.attach_lora import LoraTargets, attach_lora
from luthier.adapters.full import attach_full
from luthier.adapters.lora import LoraSettings
from luthier.data.batches import PackedBatch
from luthier.models.packed import PackedModel
from luthier.objectives.cross_entropy import sum_linear_cross_entropy
from luthier.plan.memory.estimate import estimate_memory
from luthier.plan.model.model_config import facts_from_config

WIDTH, VOCABULARY, TOKENS, RANK = 128, 2048, 512, 8
MIB = 2**20
_USUAL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 352,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT2: dict[str, Any] = {
    "n_embd": WIDTH, "n_layer": 6, "n_head": 4, "n_positions": 1024, "vocab_size": VOCABULARY,
    "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LORA: dict[str, Any] = {
    "adapter": "lora", "lora_r": RANK, "lora_alpha": RANK, "lora_target_linear": True
}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "LoRA": LORA,
    "DoRA": {**LORA, "peft_use_dora": True},
    "dropout": {**LORA, "lora_dropout": 0.1},
}


class Peaks(NamedTuple):
    """MiB beyond weights: at the end of the forward pass or in the backward pass."""

    measured: float
    predicted: float


def build(family: str, keys: dict[str, Any], *, wide: bool, checkpointing: bool) -> PackedModel:
    config = AutoConfig.for_model(family, **(_GPT2 if family == "gpt2" else _USUAL))
    causal = AutoModelForCausalLM.from_config(config)
    causal = causal.to(torch.float32 if wide else torch.bfloat16)
    model = PackedModel(causal, None)
    if keys:
        settings = LoraSettings(
            RANK,
            RANK,
            keys.get("lora_dropout", 0.0),
            magnitude=keys.get("peft_use_dora", False),
        )
        attach_lora(causal, settings, LoraTargets(None, True), base_model="tiny")
    else:
        attach_full(causal)
    if checkpointing:
        enable = getattr(causal, "activation_checkpointing_enable", None)
        (enable or causal.gradient_checkpointing_enable)({"use_reentrant": False})
    return model.train()


def measure(model: PackedModel, bf16: bool) -> float:
    """Peak MiB of one forward and backward pass over one row of labelled tokens."""
    ids = torch.randint(0, VOCABULARY, (1, TOKENS))
    places = torch.arange(TOKENS)
    batch = PackedBatch(ids, places[None], places, ids[0], (TOKENS,))
    with LiveTensors([*model.parameters(), *model.buffers()]) as live:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = sum_linear_cross_entropy(model.head, model.hidden_states(batch), batch.targets)
        loss.backward()
    return live.peak_bytes / MIB


def predict(family: str, model: PackedModel, keys: dict[str, Any], bf16: bool, anew: bool) -> float:
    facts = facts_from_config("tiny", {**model.causal.config.to_dict(), "model_type": family}, "")
    workload = make_workload(
        facts, TOKENS, bf16=bf16, gradient_checkpointing=anew, flash_attention=False, **keys
    )
    memory = estimate_memory(workload, make_machine(kind="nvidia" if bf16 else "cpu"))
    # The optimizer is not run, and the tracker does not count what was there before.
    parts = {name: part.value for name, part in memory.parts.items()}
    kept = parts["gradients"] + parts["activations"] + parts["logits"]
    copies = parts["weights"] * 1024 - facts.parameters * (4 if not (bf16 and keys) else 2) / MIB
    return kept * 1024 + copies


@pytest.mark.parametrize("anew", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("method", METHODS)
def test_float32_peaks_are_those_of_the_live_tensors(method: str, anew: bool) -> None:
    keys = METHODS[method]
    model = build("llama", keys, wide=True, checkpointing=anew)
    predicted = predict("llama", model, keys, False, anew)
    assert predicted == pytest.approx(measure(model, False), rel=0.08)


# A dropout mask takes two bytes on a CPU in bfloat16, one on the GPU that is planned for.
@pytest.mark.parametrize("anew", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("method", ["full", "LoRA", "DoRA"])
def test_bfloat16_peaks_are_those_of_the_live_tensors(
    method: str, anew: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The processor stands in for a GPU, which needs no even rows and no attention in float32.
    for room in ("attention", "packed"):
        monkeypatch.setattr(f"luthier.models.{room}.compiles_by_shape", lambda _: False)
    keys = METHODS[method]
    model = build("llama", keys, wide=not keys, checkpointing=anew)
    predicted = predict("llama", model, keys, True, anew)
    assert predicted == pytest.approx(measure(model, True), rel=0.08)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "qwen3", "gemma", "phi3"])
@pytest.mark.parametrize("method", ["full", "LoRA"])
def test_other_families_keep_what_their_shape_says(family: str, method: str) -> None:
    keys = METHODS[method]
    model = build(family, keys, wide=True, checkpointing=False)
    predicted = predict(family, model, keys, False, False)
    assert predicted == pytest.approx(measure(model, False), rel=0.10)


def test_stock_loss_holds_twelve_bytes_of_each_logit() -> None:
    """transformers' own loss on a model without any other memory to speak of."""
    config = AutoConfig.for_model(
        "llama", **{**_USUAL, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
                    "vocab_size": 8192, "head_dim": 8}
    )  # fmt: skip
    causal = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    causal.lm_head.weight.requires_grad_(False)
    ids = torch.randint(0, 8192, (1, 64))
    with LiveTensors(list(causal.parameters())) as live:
        loss = causal(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
    assert live.peak_bytes / (64 * 8192) == pytest.approx(12, rel=0.02)
