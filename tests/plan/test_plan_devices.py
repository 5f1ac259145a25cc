"""Devices by every name they go by, and this machine's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from luthier import control_groups, processor
from luthier.errors import PlanError
from luthier.plan.machine import devices
from luthier.plan.machine.device_table import DEVICES, SPELLINGS
from luthier.plan.machine.devices import (
    SeenGpu,
    build_machine,
    count_devices,
    describe_this_machine,
    find_device,
)


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        ("A100-80GB", "A100-80GB"),
        ("a100-80", "A100-80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB-PCIe"),
        ("NVIDIA A100-PCIE-40GB", "A100-40GB-PCIe"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
        ("H100 SXM", "H100-SXM"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA H100 NVL", "H100-NVL"),
        ("h200", "H200"),
        ("NVIDIA H200 NVL", "H200-NVL"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A10G", "A10G"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100-16GB"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("rtx4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4070 Ti", "RTX 4070 Ti"),
        ("RTX_3090", "RTX 3090"),
        ("DGX Spark", "GB10"),
        ("NVIDIA GB10", "GB10"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)
def test_a_device_is_found_by_what_people_and_drivers_call_it(spelt: str, name: str) -> None:
    assert find_device(spelt) == DEVICES[name]


def test_every_device_is_found_by_its_own_name() -> None:
    for name, device in DEVICES.items():
        assert find_device(name) == device
    assert set(SPELLINGS) <= set(DEVICES)


def test_a_name_of_boards_with_different_memory_is_refused_with_both() -> None:
    with pytest.raises(PlanError, match="A100-40GB and A100-80GB"):
        find_device("A100")


def test_h100_alone_is_the_sxm_board_and_its_rates_are_said_to_be_assumed() -> None:
    device = find_device("H100")
    assert device.bf16_tflops.value == DEVICES["H100-SXM"].bf16_tflops.value
    assert device.bf16_tflops.basis == "assumed"
    assert "SXM" in device.bf16_tflops.source
    # All boards called H100 without NVL have the same memory.
    assert device.capacity_gib == DEVICES["H100-SXM"].capacity_gib
    assert device.capacity_gib.value == DEVICES["H100-PCIe"].capacity_gib.value


def test_an_unknown_device_is_answered_with_the_nearest() -> None:
    with pytest.raises(PlanError, match=r"--gpu L40X: .* Nearest: .*L40S"):
        find_device("L40X")


def test_capacity_is_what_the_driver_shows_in_units_of_two_to_the_thirty() -> None:
    assert DEVICES["A100-80GB"].capacity_gib.value == 80.0
    assert DEVICES["H200"].capacity_gib.value == pytest.approx(143_771 / 1024)
    assert DEVICES["GB10"].capacity_gib.value == pytest.approx(119.7, abs=0.001)


def test_where_the_driver_is_not_known_capacity_is_the_sold_one() -> None:
    device = DEVICES["A10"]._replace(memory_mib=None)
    assert device.capacity_gib.value == pytest.approx(24e9 / 2**30)


def test_no_device_holds_more_than_it_is_sold_with() -> None:
    for device in DEVICES.values():
        # Makers mean 2³⁰ bytes by the GB of a board's memory.
        assert device.capacity_gib.value <= device.memory_gb.value
        assert device.capacity_gib.value > 0.9 * device.memory_gb.value


def test_cards_without_bfloat16_say_so() -> None:
    without = {name for name, device in DEVICES.items() if not device.has_bf16}
    assert without == {"T4", "V100-16GB", "V100-32GB"}
    assert all("no bfloat16" in DEVICES[name].note for name in without)


def test_prices_are_assumed_until_the_user_gives_one() -> None:
    typical = build_machine(find_device("H200"), 2, "fsdp", None)
    assert typical.usd_per_hour is not None
    assert (typical.usd_per_hour.value, typical.usd_per_hour.basis) == (8.0, "assumed")
    given = build_machine(find_device("H200"), 2, "fsdp", 3.5)
    assert given.usd_per_hour is not None
    assert (given.usd_per_hour.value, given.usd_per_hour.basis) == (7.0, "given")
    assert build_machine(find_device("MI300X"), 1, "none", None).usd_per_hour is None


@pytest.mark.parametrize(("count", "price"), [(0, None), (1, -1.0)])
def test_no_device_or_a_negative_price_is_refused(count: int, price: float | None) -> None:
    with pytest.raises(PlanError, match=r"--gpus 0|--usd-per-hour -1"):
        build_machine(find_device("H200"), count, "none", price)


def show(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """As if nvidia-smi had answered with `lines`."""
    seen = tuple(devices._read_line(line) for line in lines)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(devices, "_ask_nvidia_smi", lambda: seen)


def test_this_machines_gpu_has_the_memory_that_its_driver_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show(monkeypatch, "NVIDIA L40S, 49140", "NVIDIA L40S, 49140")
    device = describe_this_machine()
    assert device.name == "L40S"
    assert (device.capacity_gib.value, device.capacity_gib.basis) == (49140 / 1024, "measured")
    assert count_devices() == 2


def test_of_boards_with_one_name_the_driver_tells_which_by_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show(monkeypatch, "NVIDIA GeForce RTX 4060 Ti, 16380")
    assert describe_this_machine().name == "RTX 4060 Ti 16GB"


def test_memory_that_the_driver_does_not_count_is_the_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show(monkeypatch, "NVIDIA GB10, [N/A]")
    assert describe_this_machine() == DEVICES["GB10"]


def test_a_gpu_that_is_not_in_the_table_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, "NVIDIA Strange 9000, 1024")
    with pytest.raises(PlanError, match=r"NVIDIA Strange 9000 is not in the table.*--gpu NAME"):
        describe_this_machine()


def test_a_line_of_nvidia_smi_is_a_name_and_a_memory() -> None:
    read = devices._read_line  # pyright: ignore[reportPrivateUsage]
    assert read("NVIDIA H200, 143771") == SeenGpu("NVIDIA H200", 143771)
    assert read("NVIDIA GB10, [N/A]") == SeenGpu("NVIDIA GB10", None)


def test_without_a_gpu_the_processor_is_described_and_its_rate_assumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show(monkeypatch)
    device = describe_this_machine()
    assert device == find_device("cpu")
    assert device.kind == "cpu"
    assert device.bf16_tflops.basis == "assumed"
    total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < device.capacity_gib.value <= total_bytes / 2**30
    assert count_devices() == 1


CPUINFO = """processor	: {number}
vendor_id	: {vendor}
cpu family	: {family}
model name	: A processor
cpu MHz		: 2000.000
physical id	: 0
core id		: {core}
flags		: fpu {flags}
"""


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "operations"),
    [
        ("GenuineIntel", "6", "avx2 avx512f", 64),
        ("AuthenticAMD", "25", "avx2 avx512f", 32),
        ("AuthenticAMD", "26", "avx2 avx512f", 64),
        ("GenuineIntel", "6", "avx2", 32),
        ("GenuineIntel", "6", "sse2", 16),
    ],
)
def test_threads_of_one_core_count_once_and_lanes_give_the_rate(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    vendor: str,
    family: str,
    flags: str,
    operations: int,
) -> None:
    blocks = [
        CPUINFO.format(number=number, core=number // 2, vendor=vendor, family=family, flags=flags)
        for number in range(4)
    ]
    (tmp_path / "cpuinfo").write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    read = processor.read_processor(tmp_path / "cpuinfo")
    assert read == processor.Processor("A processor", 2, 2e9, operations)
    (tmp_path / "cpu.max").write_text("100000 100000", encoding="utf-8")
    assert processor.read_processor(tmp_path / "cpuinfo").cores == 1
