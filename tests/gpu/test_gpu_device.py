"""What Luthier says of the device, what it measures there, and in which order it adds up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gpu_cases import needs_gpu
from torch import Tensor, nn
from torch.nn import functional

from luthier import device, doctor
from luthier.errors import PlanError
from luthier.plan.machine import devices
from luthier.plan.machine.devices import describe_this_machine
from luthier.train import loop

pytestmark = pytest.mark.gpu

MIB = 2**20


def test_doctor_names_the_device(place: torch.device) -> None:
    found = {finding.topic: finding for finding in doctor.examine()}
    here = device.describe_device()
    assert here.kind == place.type
    assert found["device"].state == f"{here.name} × {here.devices}"
    assert (found["device"].mend == "") is (place.type == "cuda")
    if place.type == "cuda":
        assert here.memory_bytes == torch.cuda.get_device_properties(0).total_memory


def test_this_machine_is_planned_for_by_the_name_that_nvidia_smi_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: torch.device
) -> None:
    if place.type == "cpu":
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    devices._ask_nvidia_smi.cache_clear()
    try:
        seen = devices._ask_nvidia_smi()
        assert seen, "nvidia-smi does not answer"
        found = describe_this_machine()
        assert found.name in {one.name for one in devices._match(seen[0].name)}
        if seen[0].memory_mib is not None:
            assert found.memory_mib is not None
            assert found.memory_mib.value == seen[0].memory_mib
    except PlanError as error:
        pytest.skip(str(error))
    finally:
        devices._ask_nvidia_smi.cache_clear()


def test_peak_memory_counts_what_was_held_and_falls_after_a_reset(place: torch.device) -> None:
    device.reset_peak_memory()
    before = device.measure_peak_memory_bytes()
    held = torch.ones(64 * MIB // 4, device=place)
    device.synchronize()
    full = device.measure_peak_memory_bytes()
    assert full > 0
    del held
    if place.type == "cuda":
        assert full >= before + 64 * MIB
        device.reset_peak_memory()
        assert device.measure_peak_memory_bytes() <= full - 64 * MIB


def test_neither_training_nor_scoring_takes_cudnns_attention() -> None:
    for prepare in (device.prepare_process, device.prepare_scoring):
        torch.backends.cuda.enable_cudnn_sdp(True)
        prepare()
        assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_scoring_does_not_depend_on_what_was_trained_before() -> None:
    device.allow_tf32(True)
    device.prepare_scoring()
    assert not torch.backends.cuda.matmul.allow_tf32


def test_exact_products_leave_the_choice_as_it_was() -> None:
    for allowed in (True, False):
        device.allow_tf32(allowed)
        with device.exact_products():
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32 is allowed


class Unordered(torch.autograd.Function):
    """An operation whose gradient has no kernel that keeps an order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Tensor:
        warns = torch.is_deterministic_algorithms_warn_only_enabled()
        if torch.are_deterministic_algorithms_enabled() and not warns:
            raise RuntimeError(
                "unordered_backward_cuda does not have a deterministic implementation, but you set "
                "'torch.use_deterministic_algorithms(True)'."
            )
        return outputs[0]


@pytest.fixture
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    device.prepare_process()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    yield
    monkeypatch.undo()
    device.prepare_process()


def build_parts(operation: Any) -> Any:
    """As much of a run as a rehearsal needs: one weight, one example."""
    weight = nn.Parameter(torch.ones(2))
    example = SimpleNamespace(supervised_tokens=1, tokens=1)
    batch = SimpleNamespace(to=lambda _place: None)
    return SimpleNamespace(
        accelerator=SimpleNamespace(device=None, backward=lambda loss: loss.backward()),
        module=lambda _batch, _totals: SimpleNamespace(loss=operation(weight).sum()),
        optimizer=torch.optim.SGD([weight]),
        plan=SimpleNamespace(longest_micro_batch=lambda: [0]),
        examples=[example],
        pack=lambda _examples: batch,
    )


@pytest.mark.usefixtures("_as_on_a_gpu")
def test_a_backward_pass_requires_the_order_that_is_otherwise_merely_wished_for() -> None:
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    with device.fixed_order():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.usefixtures("_as_on_a_gpu")
def test_a_rehearsal_that_finds_no_order_says_so_and_the_run_goes_on() -> None:
    assert loop.rehearse(build_parts(torch.clone)) == ()
    (note,) = loop.rehearse(build_parts(Unordered.apply))
    assert "unordered_backward_cuda" in note
    # From now on nothing is required, and nothing said twice.
    assert loop.rehearse(build_parts(Unordered.apply)) == ()
    device.prepare_process()  # the next run asks anew
    assert loop.rehearse(build_parts(Unordered.apply)) == (note,)


@pytest.mark.usefixtures("_as_on_a_gpu")
def test_any_other_error_of_a_rehearsal_is_raised() -> None:
    def run_out(_weight: Tensor) -> Tensor:
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        loop.rehearse(build_parts(run_out))


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_adds_its_gradients_up_in_one_order(
    masked: bool, dtype: torch.dtype, place: torch.device
) -> None:
    device.prepare_process()
    tensors = [torch.randn(1, 8, 2048, 64, device=place, dtype=dtype) for _ in range(3)]
    mask = torch.ones(2048, 2048, dtype=torch.bool, device=place).tril() if masked else None
    found: list[list[Tensor]] = []
    for _ in range(4):
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        output = functional.scaled_dot_product_attention(
            *inputs, attn_mask=mask, is_causal=not masked
        )
        with device.fixed_order():
            output.square().sum().backward()
        found.append([x.grad for x in inputs if x.grad is not None])
    for again in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], again, strict=True))


@needs_gpu
def test_sums_over_places_add_up_in_one_order(place: torch.device) -> None:
    # What embeddings, labels and gathers add up in their backward passes.
    device.prepare_process()
    places = torch.randint(50, (20_000,), device=place)
    found: list[Tensor] = []
    for _ in range(4):
        torch.manual_seed(0)
        table = torch.randn(50, 64, device=place, requires_grad=True)
        chosen = functional.embedding(places, table) + table.index_select(0, places)
        with device.fixed_order():
            (chosen * torch.randn(20_000, 64, device=place)).sum().backward()
        assert table.grad is not None
        found.append(table.grad)
    assert all(torch.equal(found[0], again) for again in found[1:])
