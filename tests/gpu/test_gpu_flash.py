"""FlashAttention 2 on packed rows: asked for, it is taken, also by float32 weights under autocast.

Where its package is missing a stand-in takes its place, in plain PyTorch, that refuses what the
real one refuses. What reaches it, and from where, is then tested all the same.

Shapes: `T` tokens of the row, `H` heads, `E` width of a head.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import torch
from gpu_cases import (
    assert_no_further,
    collect_gradients,
    list_errors,
    sum_loss_alone,
)
from tiny_models import make_examples
from torch import Tensor
from transformers import PreTrainedModel
from transformers import modeling_flash_attention_utils as flash_utils
from verification.models import build_model

from luthier import device
from luthier.data.batches import pack
from luthier.models.attention import PACKED_ATTENTION
from luthier.models.packed import PackedModel
from luthier.objectives.sft import sum_sft_loss

pytestmark = pytest.mark.gpu

FLASH = "flash_attention_2"
FAMILIES = ("qwen2", "llama", "gpt2", "gpt_neox", "gemma", "mistral")
LENGTHS = (3, 40, 1, 17)
CALLS: list[dict[str, Any]] = []


def attend_varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    deterministic: bool = False,
) -> Tensor:
    """flash_attn's function for rows of several examples, (T, H, E) each."""
    if q.dtype not in (torch.float16, torch.bfloat16):
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
    assert isinstance(max_seqlen_q, int)
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
    assert causal
    assert dropout_p == 0.0
    CALLS.append({"ends": cu_seqlens_q.tolist(), "longest": max_seqlen_q, "same": deterministic})
    ends = cu_seqlens_q.tolist()
    outputs: list[Tensor] = []
    for start, end in pairwise(ends):
        rows = [tensor[start:end].transpose(0, 1) for tensor in (q, k, v)]
        place = torch.arange(end - start, device=q.device)
        distance = place[:, None] - place
        mask = distance >= 0
        if window_size[0] >= 0:
            mask &= distance <= window_size[0]
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                *rows, attn_mask=mask, scale=softmax_scale, enable_gqa=True
            ).transpose(0, 1)
        )
    return torch.cat(outputs)


def attend(q: Tensor, k: Tensor, v: Tensor, **choices: Any) -> Tensor:
    """flash_attn's function for a batch of one example."""
    assert q.shape[0] == 1
    ends = torch.tensor([0, q.shape[1]], dtype=torch.int32)
    return attend_varlen(q[0], k[0], v[0], ends, ends, q.shape[1], k.shape[1], **choices)[None]


@pytest.fixture(autouse=True)
def _flash(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The real package where it is, else the stand-in."""
    CALLS.clear()
    if device.flash_attention_available():
        yield
        return
    if not hasattr(flash_utils, "_loaded_implementation"):
        pytest.skip("this transformers loads FlashAttention in another way")
    package, padding = ModuleType("flash_attn"), ModuleType("flash_attn.bert_padding")
    package.flash_attn_func, package.flash_attn_varlen_func = attend, attend_varlen  # type: ignore[attr-defined]
    package.flash_attn_with_kvcache = attend  # type: ignore[attr-defined]
    padding.pad_input = padding.unpad_input = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setitem(sys.modules, "flash_attn.bert_padding", padding)
    here = {"raising": False}  # not all versions look there
    monkeypatch.setattr(flash_utils, "is_flash_attn_2_available", lambda *_, **__: True, **here)
    monkeypatch.setattr(flash_utils, "_loaded_implementation", None)
    monkeypatch.setattr(PreTrainedModel, "_flash_attn_can_dispatch", lambda *_, **__: True)
    yield
    flash_utils._loaded_implementation = None


def load(family: str, dtype: torch.dtype, place: torch.device) -> Any:
    """A model that was loaded with the attention that a recipe asks for."""
    model = build_model(family).to(torch.bfloat16).to(place, dtype)
    model.set_attn_implementation(FLASH)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_in_bfloat16_get_the_attention_that_was_asked_for(
    family: str, place: torch.device
) -> None:
    packed = PackedModel(load(family, torch.bfloat16, place), FLASH)
    assert packed.attention == FLASH
    assert packed.head_is_plain


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_weights_under_autocast_get_it_too(family: str, place: torch.device) -> None:
    model = load(family, torch.float32, place)
    assert PackedModel(model, FLASH, torch.bfloat16).attention == FLASH


def test_float32_weights_without_autocast_get_another(place: torch.device) -> None:
    assert PackedModel(load("qwen2", torch.float32, place), FLASH).attention == PACKED_ATTENTION


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_row_gives_the_loss_and_gradients_of_its_examples_alone(
    family: str, place: torch.device
) -> None:
    found: dict[str, dict[str, Tensor]] = {}
    examples = make_examples(*LENGTHS)
    packed = PackedModel(load(family, torch.float32, place), FLASH, torch.bfloat16)
    assert packed.attention == FLASH
    CALLS.clear()
    with torch.autocast(place.type, torch.bfloat16):
        loss = sum_sft_loss(packed, pack(examples).to(place))
    loss.backward()
    found["packed"] = {"loss": loss.detach(), **collect_gradients(packed.causal)}
    for name, dtype, rounds in (("alone", torch.float32, True), ("exact", torch.float64, False)):
        model = load(family, dtype, place)
        model.set_attn_implementation("sdpa")
        with torch.autocast(place.type, torch.bfloat16, enabled=rounds):
            loss = sum_loss_alone(model, examples)
        loss.backward()
        found[name] = {"loss": loss.detach(), **collect_gradients(model)}
    errors = [list_errors(found[name], found["exact"]) for name in ("packed", "alone")]
    assert_no_further(*errors, torch.bfloat16)
    for call in CALLS:  # of the stand-in; on a processor the row is filled up with a segment more
        assert call["ends"][:5] == [0, 3, 43, 44, 61]
        assert call["longest"] == 40


def test_its_gradients_are_asked_for_in_a_fixed_order(place: torch.device) -> None:
    device.prepare_process()
    packed = PackedModel(load("qwen2", torch.bfloat16, place), FLASH)
    batch = pack(make_examples(*LENGTHS)).to(place)
    CALLS.clear()
    gradients: list[dict[str, Tensor]] = []
    for _ in range(2):
        packed.causal.zero_grad(set_to_none=True)
        sum_sft_loss(packed, batch).backward()
        gradients.append(collect_gradients(packed.causal))
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
    assert all(call["same"] for call in CALLS)
