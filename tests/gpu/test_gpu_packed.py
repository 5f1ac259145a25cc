"""A packed row on the device against its examples one by one, under every attention there is."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from gpu_cases import (
    DTYPES,
    assert_no_further,
    collect_gradients,
    list_errors,
    needs_gpu,
    sum_loss_alone,
    take_attention,
)
from tiny_models import make_examples
from torch import Tensor
from verification.models import build_model
from verification.pairs import make_pairs, plain_sums

from luthier import device
from luthier.adapters.attach_lora import LoraTargets, attach_lora
from luthier.adapters.lora import LoraSettings
from luthier.data.batches import pack
from luthier.data.pair_batches import pack_pairs
from luthier.models.attention import PACKED_ATTENTION, _repeat_heads, packed_attention
from luthier.models.packed import PackedModel
from luthier.objectives.answers import compute_answer_log_probs
from luthier.objectives.sft import sum_sft_loss

pytestmark = pytest.mark.gpu

FAMILIES = ("qwen2", "llama", "gpt2", "gpt_neox", "gemma", "mistral")
# Mistral's window of 4 tokens is felt in all but one; equal lengths take a way of their own.
LENGTHS = ((3, 40, 1, 17), (12, 12, 12))
ATTENTIONS = (PACKED_ATTENTION, "sdpa", "eager")

Found = dict[str, Tensor]


def load(family: str, dtype: torch.dtype, place: torch.device, **changes: Any) -> Any:
    """Weights that lie on bfloat16's grid, so that every precision means the same model."""
    return build_model(family, **changes).to(torch.bfloat16).to(place, dtype)


@cache
def run_alone(
    family: str,
    lengths: tuple[int, ...],
    dtype: torch.dtype,
    place: torch.device,
    attention: str = "sdpa",
) -> Found:
    model = load(family, dtype, place)
    model.set_attn_implementation(attention)
    loss = sum_loss_alone(model, make_examples(*lengths))
    loss.backward()
    return {"loss": loss.detach(), **collect_gradients(model)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_row_gives_the_loss_and_gradients_of_its_examples_alone(
    family: str,
    lengths: tuple[int, ...],
    attention: str,
    dtype: torch.dtype,
    place: torch.device,
) -> None:
    packed = take_attention(load(family, dtype, place), attention)
    loss = sum_sft_loss(packed, pack(make_examples(*lengths)).to(place))
    loss.backward()
    found = {"loss": loss.detach(), **collect_gradients(packed.causal)}
    exact = run_alone(family, lengths, torch.float64, torch.device("cpu"))
    # In bfloat16 `eager` rounds its scores, wherever examples stand.
    usual = "eager" if attention == "eager" else "sdpa"
    alone = run_alone(family, lengths, dtype, place, usual)
    assert_no_further(list_errors(found, exact), list_errors(alone, exact), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gets_our_attention_and_shares_prompts_in_every_precision(
    family: str, dtype: torch.dtype, place: torch.device
) -> None:
    # What products may round to must not decide: the trial looks for less than that.
    device.allow_tf32(True)
    model = PackedModel(load(family, dtype, place, initializer_range=0.02), "sdpa", torch.bfloat16)
    assert (model.attention, model.shares_prompts) == (PACKED_ATTENTION, True)
    assert model.head_is_plain


@cache
def sum_answers_plainly(family: str, dtype: torch.dtype) -> Tensor:
    with torch.no_grad():
        return plain_sums(load(family, dtype, torch.device("cpu")), make_pairs()).double()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_that_share_a_prompt_get_their_own_log_probs(
    family: str, shared: bool, dtype: torch.dtype, place: torch.device
) -> None:
    # The second answer sees the prompt from afar: a mask, under which a GPU takes another kernel.
    packed = PackedModel(load(family, dtype, place))
    with torch.no_grad():
        batch = pack_pairs(make_pairs(), shared=shared).to(place)
        found = {"sums": compute_answer_log_probs(packed, batch).sums_S2}
    exact = {"sums": sum_answers_plainly(family, torch.float64)}
    plain = {"sums": sum_answers_plainly(family, dtype)}
    assert_no_further(list_errors(found, exact), list_errors(plain, exact), dtype, factor=4.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_heads_that_are_repeated_attend_as_heads_that_are_shared(
    dtype: torch.dtype, place: torch.device
) -> None:
    query = torch.randn(1, 6, 9, 16, device=place, dtype=dtype)
    key, value = torch.randn(2, 1, 2, 9, 16, device=place, dtype=dtype)
    attend = torch.nn.functional.scaled_dot_product_attention
    expected = attend(query, key, value, is_causal=True, enable_gqa=True)
    found = attend(query, *(_repeat_heads(t, 6) for t in (key, value)), is_causal=True)
    assert float((found - expected).abs().max()) < {torch.bfloat16: 0.03}.get(dtype, 1e-5)


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
@pytest.mark.parametrize("trained", ["all", "adapter with dropout"])
def test_checkpointed_layers_are_worked_out_anew_with_the_same_bytes(
    trained: str, family: str, place: torch.device
) -> None:
    gradients: list[Found] = []
    batch = pack(make_examples(3, 40, 17)).to(place)
    device.prepare_process()
    for checkpointing in (False, True):
        model = load(family, torch.float32, place)
        packed = PackedModel(model, None, torch.bfloat16)
        if trained != "all":
            torch.manual_seed(1)
            settings = LoraSettings(4, 8, 0.3, magnitude=True)
            adapter = attach_lora(model, settings, LoraTargets(None, True), base_model="")
            with torch.no_grad():
                for parameter in adapter.parameters.values():
                    parameter.add_(0.1 * torch.randn_like(parameter))
            adapter.refresh()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        torch.manual_seed(2)
        with torch.autocast(place.type, torch.bfloat16):
            loss = sum_sft_loss(packed, batch)
        with device.fixed_order():
            loss.backward()
        gradients.append(collect_gradients(model))
    for name, expected in gradients[0].items():
        assert torch.equal(gradients[1][name], expected), name


@needs_gpu
@pytest.mark.parametrize("window", [None, 1024])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_shared_heads_under_a_mask_never_hold_all_scores(
    dtype: torch.dtype, window: int | None, place: torch.device
) -> None:
    # PyTorch's fallback does, without a word: 16 heads' scores of 3584 by 7680 tokens are 0.8 GiB
    # in bfloat16 and 1.6 in float32, each of the several times that it holds them.
    query = torch.randn(1, 16, 8192, 64, device=place, dtype=dtype, requires_grad=True)
    key, value = (
        torch.randn(1, 2, 8192, 64, device=place, dtype=dtype, requires_grad=True) for _ in range(2)
    )
    device.prepare_process()
    device.reset_peak_memory()
    before = device.measure_peak_memory_bytes()
    # A trunk with two branches, of which the second sees the trunk under a mask.
    out, _ = packed_attention(
        torch.nn.Identity(), query, key, value, None,
        sliding_window=window, segment_lengths=(4096, 512, 3584), branches=2,
    )  # fmt: skip
    with device.fixed_order():
        out.sum().backward()
    assert device.measure_peak_memory_bytes() - before < 0.75 * 2**30
