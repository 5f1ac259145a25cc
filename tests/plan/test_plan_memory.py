"""Peaks that can be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from plan_cases import LORA, QLORA, estimate, make_machine

from luthier.plan.figure import Figure
from luthier.plan.machine.devices import build_machine, find_device
from luthier.plan.memory.device_figure import estimate_device_gib
from luthier.plan.model.model_config import read_facts
from luthier.plan.work.workload import Engine

MISTRAL = read_facts("mistralai/Mistral-7B-v0.1")
LLAMA3 = read_facts("meta-llama/Meta-Llama-3-8B")
GIB = 2**30
NOTHING: dict[str, Any] = {}
# (inputs + outputs) of q, k, v, o at rank 16 in 32 layers.
MISTRAL_ADAPTER = 16 * (8192 + 5120 + 5120 + 8192) * 32


def test_pure_bfloat16_adamw_peaks_at_ten_bytes_a_weight() -> None:
    found = estimate(MISTRAL, 4096, "transformers", optimizer="adamw_torch")
    weights = 7_241_732_096
    assert found.moment == "the optimizer's step"
    assert found.parts["weights"].value == pytest.approx(2 * weights / GIB)
    assert found.parts["gradients"].value == pytest.approx(2 * weights / GIB)
    assert found.parts["optimizer"].value == pytest.approx(6 * weights / GIB)
    assert found.allocated_gib.value == pytest.approx(10 * weights / GIB, rel=2e-4)


def test_a_fused_optimizer_needs_no_temporaries() -> None:
    found = estimate(MISTRAL, 16, "transformers", optimizer="adamw_torch_fused")
    assert found.allocated_gib.value == pytest.approx(8 * 7_241_732_096 / GIB, rel=2e-3)


def test_our_full_fine_tuning_holds_sixteen_bytes_a_weight() -> None:
    found = estimate(MISTRAL, 16)
    assert found.allocated_gib.value == pytest.approx(16 * 7_241_732_096 / GIB, rel=5e-3)


def test_lora_holds_the_base_in_two_bytes_and_sixteen_for_each_trained_weight() -> None:
    found = estimate(MISTRAL, 16, **LORA)
    parts = found.parts
    assert parts["weights"].value == pytest.approx(2 * 7_241_732_096 / GIB)
    trained = sum(parts[name].value for name in ("adapter", "gradients", "optimizer"))
    assert trained == pytest.approx(16 * MISTRAL_ADAPTER / GIB)


def test_a_four_bit_base_takes_half_a_byte_and_its_scales() -> None:
    linear = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    others = 7_241_732_096 - linear
    packed = estimate(MISTRAL, 16, **QLORA).parts["weights"].value
    scales = linear / 64 * (1 + 4 / 256)
    assert packed == pytest.approx((linear / 2 + scales + 2 * others) / GIB)
    once = estimate(MISTRAL, 16, **QLORA, bnb_4bit_use_double_quant=False)
    assert once.parts["weights"].value == pytest.approx(
        (linear / 2 + linear / 16 + 2 * others) / GIB
    )


def test_checkpointing_keeps_each_layers_input_and_one_layer() -> None:
    """Llama-3-8B, fully trained with fused kernels: 32 inputs of 2 h and 57 h bytes a token.

    Kept: normed input, queries, keys, values, attention's result, the residual, its norm
    (2 + 2 + ½ + ½ + 2 + 2 + 2), gate, activation, up and product (4 · 7), of which the last is gone
    when three gradients of 7 come; and the gradient and the output of the layer (2 + 2).
    """
    small, large = (estimate(LLAMA3, n, "liger").parts["activations"].value for n in (2**18, 2**19))
    assert large - small == pytest.approx(2**18 * 4096 * (2 * 32 + 57) / GIB, rel=1e-3)


def test_stock_logits_take_twelve_bytes_for_each_token_and_vocabulary_entry() -> None:
    found = estimate(LLAMA3, 8192, "transformers", **LORA)
    assert found.moment == "the logits"
    assert found.parts["logits"].value == pytest.approx(8192 * (12 * 128256 + 6 * 4096) / GIB)


def test_our_head_never_holds_all_logits() -> None:
    ours, theirs = (estimate(LLAMA3, 8192, engine, **LORA) for engine in ("luthier", "fused-loss"))
    assert ours.parts["logits"].value < 0.3
    assert ours.allocated_gib.value < theirs.allocated_gib.value


def test_float32_masters_are_shared_out_by_fsdp() -> None:
    four = make_machine(count=4, sharding="fsdp")
    found = estimate(LLAMA3, 16, "fused-loss", four, optimizer="adamw_torch")
    assert found.allocated_gib.value == pytest.approx(20 * 8_030_261_248 / 4 / GIB, rel=1e-3)


def test_bfloat16_fsdp_takes_half_of_that() -> None:
    two = make_machine(count=2, sharding="fsdp-bf16")
    found = estimate(LLAMA3, 16, "fused-loss", two, optimizer="adamw_torch")
    assert found.allocated_gib.value == pytest.approx(10 * 8_030_261_248 / 2 / GIB, rel=1e-3)


def test_zero2_shares_all_but_the_weights() -> None:
    four = make_machine(count=4, sharding="zero2")
    found = estimate(MISTRAL, 16, "transformers", four)
    # 2 for the weights; of gradients, float32 copy and moments 2 + 4 + 8 shared by four, and the
    # gradients once more in float32 while the weights are moved.
    assert found.allocated_gib.value == pytest.approx((2 + 18 / 4) * 7_241_732_096 / GIB, rel=2e-3)


def test_zero3_moves_a_billion_weights_at_a_time() -> None:
    found = estimate(MISTRAL, 16, "transformers", make_machine(count=2, sharding="zero3"))
    assert found.moment == "the optimizer's step"
    expected = 16 / 2 * 7_241_732_096 + 4 * 1e9
    assert found.allocated_gib.value == pytest.approx(expected / GIB, rel=2e-3)


def test_zero3_with_offload_leaves_two_layers_and_the_root() -> None:
    found = estimate(MISTRAL, 16, "transformers", make_machine(count=2, sharding="zero3-offload"))
    layer, root = 218_112_000, 262_144_000
    assert found.parts["weights"].value == pytest.approx(2 * (2 * layer + root) / GIB, rel=1e-2)
    assert found.parts["optimizer"].value == 0


def test_stock_dpo_holds_a_second_model_and_lora_none() -> None:
    pairs: dict[str, Any] = {"rl": "dpo", "datasets": [{"path": "p.jsonl", "type": "chatml.intel"}]}
    plain, paired = (estimate(MISTRAL, 16, "transformers", **keys) for keys in (NOTHING, pairs))
    extra = paired.allocated_gib.value - plain.allocated_gib.value
    assert extra == pytest.approx(2 * 7_241_732_096 / GIB, rel=1e-3)
    lora = (estimate(MISTRAL, 16, "transformers", **LORA, **keys) for keys in (NOTHING, pairs))
    one, two = (item.allocated_gib.value for item in lora)
    assert one == pytest.approx(two)


def test_a_72b_model_in_bfloat16_does_not_fit_an_h200_with_galore() -> None:
    facts = read_facts("Qwen/Qwen2.5-72B")
    found = estimate(
        facts, 2048, machine=make_machine(140.4), optimizer="galore_adamw_8bit", galore_rank=128
    )
    assert found.fits == "no"
    weights = 72_706_203_648
    assert found.parts["weights"].value == pytest.approx(4 * weights / GIB)


@pytest.mark.parametrize("keys", [{}, LORA, QLORA, {**LORA, "peft_use_dora": True}])
@pytest.mark.parametrize("engine", ["luthier", "transformers", "fused-loss", "liger"])
def test_more_tokens_never_take_less_memory(keys: dict[str, Any], engine: Engine) -> None:
    for checkpointing in (True, False):
        peaks = [
            estimate(LLAMA3, n, engine, gradient_checkpointing=checkpointing, **keys)
            for n in (512, 4096, 32768)
        ]
        sizes = [peak.allocated_gib.value for peak in peaks]
        assert sizes == sorted(sizes)


def test_checkpointing_and_smaller_bases_save_memory() -> None:
    kept, anew = (
        estimate(MISTRAL, 8192, **LORA, gradient_checkpointing=on) for on in (False, True)
    )
    assert anew.allocated_gib.value < kept.allocated_gib.value
    eight = estimate(MISTRAL, 8192, **LORA, load_in_8bit=True)
    four = estimate(MISTRAL, 8192, **QLORA)
    assert four.allocated_gib.value < eight.allocated_gib.value < anew.allocated_gib.value


def test_layers_packed_in_8_bit_keep_what_they_read() -> None:
    """Under an adapter on attention: the normed input of gate and up, and what down reads."""
    kept: dict[str, Any] = {**LORA, "gradient_checkpointing": False}
    plain = estimate(MISTRAL, 8192, "accelerated-peft", **kept)
    eight = estimate(MISTRAL, 8192, "accelerated-peft", **kept, load_in_8bit=True)
    extra = eight.parts["activations"].value - plain.parts["activations"].value
    assert extra == pytest.approx(32 * 8192 * 2 * (4096 + 14336) / GIB)


def test_parts_add_up_and_say_what_they_rest_on() -> None:
    found = estimate(MISTRAL, 8192, **LORA)
    total = sum(part.value for part in found.parts.values())
    assert total == pytest.approx(found.allocated_gib.value)
    assert {part.basis for part in found.parts.values()} <= {"computed", "assumed"}
    assert found.device_gib.basis == "assumed"
    assert found.device_gib.value > found.allocated_gib.value
    assert "freed blocks" in found.device_gib.source


@pytest.mark.parametrize("allocated", [10.0, 23.0, 100.0])
def test_what_the_device_shows_is_what_its_source_says(allocated: float) -> None:
    machine = build_machine(find_device("RTX 4090"), 1, "none", None)
    shown = estimate_device_gib(Figure(allocated, "computed"), 5.0, machine)
    gaps = "allocated, 0.9 GiB of freed blocks and 2.5 GiB of context"
    said = {10.0: gaps, 23.0: "allocated + 2.5 GiB", 100.0: "allocated + 2.5 GiB"}
    assert shown.source.startswith(said[allocated])
    if allocated == 10.0:
        assert shown.value == pytest.approx(10.0 + 0.18 * 5.0 + 2.5)


@pytest.mark.parametrize(("capacity", "verdict"), [(20.0, "yes"), (17.5, "tight"), (16.0, "no")])
def test_the_verdict_leaves_room_for_reserved_memory(capacity: float, verdict: str) -> None:
    found = estimate(MISTRAL, 1024, machine=make_machine(capacity), **LORA)
    share = found.allocated_gib.value / capacity
    expected = "yes" if share <= 0.80 else "tight" if share <= 0.88 else "no"
    assert found.fits == verdict == expected
