"""The parts that measure on a GPU, at small size on a processor; and the page made of them."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.gpu import __main__ as entry
from benchmarks.gpu import fit, plan, profile, race, shapes, speed
from benchmarks.gpu.cases import (
    LUTHIER,
    LUTHIER_CHECKPOINTING,
    STOPS,
    TRL,
    Case,
    Stop,
    list_contestants,
)
from benchmarks.gpu.counting import share_of_peak
from benchmarks.gpu.kernels import (
    Span,
    find_kind,
    measure_busy,
    measure_waits,
    read_spans,
    read_trace,
    summarise_spans,
)
from benchmarks.gpu.page import build_page
from benchmarks.gpu.plan_cases import PlanCase
from benchmarks.gpu.record import Record
from benchmarks.gpu.rows import draw_pairs, draw_rows
from benchmarks.gpu.watch import Watch, describe_limits, read_pairs
from benchmarks.gpu.workers import OutOfMemory, Worker, WorkerLost, describe_failure

from luthier.plan.machine.devices import find_device
from luthier.plan.time.calibration import STORE_VARIABLE

RunPart = Callable[..., tuple[int, dict[str, Any]]]
SUMMED = {
    "part",
    "status",
    "why",
    "size",
    "date",
    "seconds",
    "hardware",
    "versions",
    "git_revision",
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def run_part(
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> RunPart:
    """`python -m benchmarks.gpu PART --small` here: its exit code and its JSON."""
    monkeypatch.setattr(shapes, "_ROOTS", (models, models))
    # Others change the code while the tests run.
    monkeypatch.setattr("luthier.provenance.find_git_revision", lambda: "abc")

    def run(name: str, *more: str) -> tuple[int, dict[str, Any]]:
        arguments = ["gpu", name, "--small", "--output", str(tmp_path / "out"), *more]
        monkeypatch.setattr(sys, "argv", arguments)
        code = entry.main()
        printed = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
        assert printed == json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert printed.keys() >= SUMMED
        return code, printed

    return run


# The parts as they are, each with one case.


def test_speed_races_both_peers_on_the_same_rows_and_goes_on_where_it_stopped(
    run_part: RunPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "SMALL_STOPS", (Stop("tiny", "lora", (64, 32)),))
    code, part = run_part("speed")
    assert (code, part["status"]) == (0, "done"), part["cells"]
    assert list(part["cells"]) == ["tiny lora 64", "tiny lora 32"]
    cell = part["cells"]["tiny lora 64"]
    assert list(cell["contestants"]) == [
        "Luthier", "TRL", "TRL, no checkpointing", "Luthier, checkpointing",
    ]  # fmt: skip
    # The same rows from the same weights: the same losses, turn after turn.
    assert cell["largest_loss_difference"] < 1e-4
    for result in cell["contestants"].values():
        assert result["steps"] == 4  # two turns of two
        rate = cell["tokens_per_step"] / result["step_seconds"]
        assert result["tokens_per_second"] == pytest.approx(rate, rel=1e-3)
        share = 4 * cell["parameters"] * rate / (cell["peak_tflops"] * 1e12)
        assert result["share_of_peak"] == pytest.approx(share, rel=1e-2, abs=1e-4)
    assert set(cell["settings"]) == {"Luthier", "TRL"}

    def refuse(*_: Any) -> None:
        raise AssertionError("nothing is left to measure")

    monkeypatch.setattr(race, "Worker", refuse)
    code, again = run_part("speed")
    assert (code, again["cells"]) == (0, part["cells"])


def test_plan_sets_predictions_beside_a_real_run_and_leaves_the_users_calibrations_alone(
    run_part: RunPart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text("")
    monkeypatch.setenv(STORE_VARIABLE, str(own))
    case = PlanCase("tiny", "lora", 512, 1, 6, style="compact")
    monkeypatch.setattr(plan, "SMALL_CASES", (case,))
    monkeypatch.setattr(plan, "CALIBRATION_STEPS", 6)
    code, part = run_part("plan")
    assert code == 0, part["cells"]
    cell = part["cells"][case.name]
    assert cell["measured"]["steps"] == 6
    assert cell["measured"]["shown_gib"] is None  # no nvidia-smi here
    predicted, measured = cell["predicted"]["after"], cell["measured"]
    # From the calibration: as it is, or for rows that are filled a little otherwise.
    assert predicted["basis"]["speed"] in ("measured", "computed")
    assert cell["predicted"]["before"]["basis"]["speed"] == "assumed"
    error = 100 * (predicted["tokens_per_second"] / measured["tokens_per_second"] - 1)
    assert cell["errors"]["after"]["tokens_per_second"] == pytest.approx(error, abs=0.1)
    assert cell["errors"]["before"]["shown_gib"] is None
    assert own.read_text() == ""


def test_profile_says_which_operators_a_step_is_spent_on(
    run_part: RunPart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(profile, "SMALL_CASES", (Case("tiny", "dpo", 32),))
    code, part = run_part("profile", "--trace")
    assert code == 0, part["cells"]
    cell = part["cells"]["tiny dpo 32"]
    assert sum(kind["share"] for kind in cell["kinds"].values()) == pytest.approx(1, abs=1e-3)
    assert 0 < len(cell["kernels"]) <= 20
    assert cell["kernels"][0]["share"] >= cell["kernels"][-1]["share"]
    assert (tmp_path / "out" / "profile.json").stat().st_size < 100_000
    events = read_trace(tmp_path / "out" / "tiny-dpo-32.trace.json.gz")
    assert any(event.get("name") == "aten::mm" for event in events)
    assert read_spans(events) == []  # nothing ran on a device here


# The race, with peers that are made up.


class FakeWorker:
    """Steps of 0.1 s, as the test's `turns` says for each process."""

    alive = 0
    turns: Callable[[dict[str, Any], int], None] = staticmethod(lambda job, alive: None)

    def __init__(self, module: str, job: dict[str, Any], folder: Path) -> None:
        self.job = {**job, "peer": module.rpartition("_")[2]}
        FakeWorker.alive += 1

    def send(self, command: str, **_: Any) -> None:
        assert command == "build"

    def receive(self, seconds: float) -> dict[str, Any]:
        return {"settings": {}, "held": 0}

    def ask(self, command: str, seconds: float, **asked: Any) -> dict[str, Any]:
        FakeWorker.turns(self.job, FakeWorker.alive)
        count = asked["uncounted"] + asked["steps"]
        bytes_ = {"allocated": 2**30, "reserved": 2**31, "held": 0}
        return {"seconds": [0.1] * count, "losses": [1.0] * count, "reference_seconds": 0, **bytes_}

    def close(self) -> None:
        FakeWorker.alive -= 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    monkeypatch.setattr(race, "Worker", FakeWorker)
    monkeypatch.setattr(speed, "SMALL_STOPS", (Stop("tiny", "lora", (64, 32)),))
    monkeypatch.setattr(FakeWorker, "alive", 0)
    return FakeWorker


def test_running_out_of_memory_beside_others_is_tried_alone_before_it_counts(
    run_part: RunPart, fake: type[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    def turns(job: dict[str, Any], alive: int) -> None:
        if job["peer"] == "luthier" and alive > 1:
            raise OutOfMemory("CUDA out of memory")
        if job["peer"] == "trl":
            raise OutOfMemory("CUDA out of memory, as ever")

    monkeypatch.setattr(fake, "turns", staticmethod(turns))
    code, part = run_part("speed")
    found = part["cells"]["tiny lora 64"]["contestants"]
    assert code == 0
    assert found["Luthier"]["alone"]
    assert found["Luthier"]["tokens_per_second"] == 1280  # 128 tokens in 0.1 s
    assert found["TRL"]["out_of_memory"].endswith("as ever")
    assert fake.alive == 0


def test_a_case_that_fails_leaves_the_others_and_is_tried_again_after_them(
    run_part: RunPart, fake: type[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = {"TRL": False, "Luthier": True}
    taken: list[str] = []

    def turns(job: dict[str, Any], alive: int) -> None:
        taken.append(job["peer"])
        # The first case's first turn.
        if job["peer"] == "luthier" and fails["Luthier"]:
            fails["Luthier"] = False
            raise WorkerLost("ValueError: no such thing")
        if job["peer"] == "trl" and fails["TRL"]:
            raise WorkerLost("TypeError: another version")

    monkeypatch.setattr(fake, "turns", staticmethod(turns))
    code, part = run_part("speed")
    assert (code, part["status"]) == (1, "failed")
    assert "no such thing" in part["cells"]["tiny lora 64"]["failed"]
    assert "failed" not in part["cells"]["tiny lora 32"]
    # The contestant that shares the process got a new one, and its figures stay.
    assert (
        "tokens_per_second"
        in part["cells"]["tiny lora 64"]["contestants"]["Luthier, checkpointing"]
    )
    fails["TRL"] = True
    code, again = run_part("speed")
    assert (code, again["status"]) == (0, "done")
    assert again["cells"]["tiny lora 32"] == part["cells"]["tiny lora 32"]
    # A fault of TRL is its own result.
    assert "another version" in again["cells"]["tiny lora 64"]["contestants"]["TRL"]["failed"]


def test_without_trl_luthier_is_measured_alone_and_the_part_says_so(
    run_part: RunPart, fake: type[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "trl" else find(name)
    )
    code, part = run_part("speed")
    assert (code, part["status"]) == (0, "done")
    assert list(part["cells"]["tiny lora 64"]["contestants"]) == [
        "Luthier", "Luthier, checkpointing",
    ]  # fmt: skip
    assert "Luthier is measured alone" in part["notes"]["peers"]


def test_a_part_whose_time_is_up_is_unfinished_and_goes_on(
    run_part: RunPart, fake: type[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = speed.SECONDS_AT_MOST["tiny"]
    now = [0.0]
    monkeypatch.setattr("benchmarks.gpu.record.time.monotonic", lambda: now[0])

    def turns(job: dict[str, Any], alive: int) -> None:
        now[0] += 1

    monkeypatch.setattr(fake, "turns", staticmethod(turns))
    code, part = run_part("speed", "--seconds", str(limit + 5))
    assert (code, part["status"]) == (0, "unfinished")
    assert "tiny lora 32" in part["why"]
    assert list(part["cells"]) == ["tiny lora 64"]
    code, again = run_part("speed", "--seconds", str(limit + 5))
    assert (code, again["status"]) == (0, "done")
    assert list(again["cells"]) == ["tiny lora 64", "tiny lora 32"]


def test_a_failed_plan_case_leaves_the_others(
    run_part: RunPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(case: PlanCase, folder: Path, cell: dict[str, Any], record: Record) -> None:
        cell["fits"] = "yes"
        if case.method == "lora":
            raise RuntimeError("train ended with 1")

    monkeypatch.setattr(plan, "measure", measure)
    code, part = run_part("plan")
    first, second = part["cells"].values()
    assert code == 1
    assert first["fits"] == "yes"
    assert "train ended with 1" in first["failed"]
    assert "failed" not in second


# What is counted, and what fits.


def test_the_published_lora_figure_is_its_published_share_of_peak() -> None:
    # Llama-3-8B, LoRA, 4,096 tokens, one H100: 12,473 tokens/s, 40.6% counted as 4N.
    assert share_of_peak(12_473, 8.03e9, 4, 989) == pytest.approx(0.406, abs=0.001)


def test_a_step_has_as_many_tokens_at_every_length() -> None:
    assert {Case("1.5b", "lora", n).step_tokens for n in (512, 2_048, 8_192)} == {8_192}
    assert {Case("1.5b", "dpo", n).step_tokens for n in (512, 2_048, 4_096)} == {8_192}
    assert Case("8b", "dpo", 2_048).rows == 1
    assert Case("8b", "dpo", 2_048).step_tokens == 4_096  # both conversations
    assert Case("8b", "full", 512).passes == 6
    assert Case("8b", "qlora", 512).passes == 4


def test_rows_are_the_same_in_every_process_and_of_exactly_their_length() -> None:
    first, again = draw_rows(64, 3, "half"), draw_rows(64, 3, "half")
    assert all((a.input_ids == b.input_ids).all() for a, b in zip(first, again, strict=True))
    assert {row.tokens for row in first} == {64}
    assert {row.supervised_tokens for row in first} == {32}
    assert draw_rows(64, 1)[0].supervised_tokens == 63
    pair = draw_pairs(64, 1)[0]
    assert (pair.sequence_tokens, pair.tokens) == (64, 96)  # the prompt of 32 once


def test_no_cell_has_two_names_and_the_main_question_comes_first() -> None:
    names = [case.name for stop in STOPS for case in stop.cases]
    assert names[0] == "8b lora 4096"
    assert len(set(names)) == len(names)
    # Every method of the question at every length, for some model.
    for method in ("lora", "dora", "qlora", "full", "dpo"):
        lengths = {n for stop in STOPS if stop.method == method for n in stop.lengths}
        assert lengths == {512, 2_048, 4_096, 8_192}


def test_a_variant_races_beside_luthier_only_where_it_is_installed() -> None:
    off = Case("8b", "lora", 4_096, variant="Luthier, determinism off")
    assert [item.title for item in list_contestants(off)] == ["Luthier", off.variant]
    assert Stop("8b", "lora", (512,), variants=("TRL + Liger",)).cases == ()  # not installed here


def test_full_8b_does_not_fit_an_h100_by_plan_and_lora_leaves_room_for_the_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "describe_this_machine", lambda: find_device("H100-SXM"))
    shape = shapes.SHAPES["8b"]
    config = {"model_type": shape.family, **shapes.describe(shape, FakeTokenizer())}
    (tmp_path / "config.json").write_text(json.dumps(config))
    full = fit.plan_fit(Case("8b", "full", 4_096), LUTHIER, tmp_path)
    assert not full.is_possible
    lora = Case("8b", "lora", 4_096)
    fits = {item: fit.plan_fit(lora, item, tmp_path) for item in (LUTHIER, TRL)}
    assert fit.fit_beside(fits) == {LUTHIER, TRL}
    long = Case("8b", "lora", 8_192)
    items = (LUTHIER, LUTHIER_CHECKPOINTING, TRL)
    fits = {item: fit.plan_fit(long, item, tmp_path) for item in items}
    # Without checkpointing 8,192 tokens take what the peer would hold.
    assert fit.fit_beside(fits) == {LUTHIER_CHECKPOINTING, TRL}


class FakeTokenizer:
    eos_token_id, pad_token_id = 2, 0


def test_a_full_device_is_told_from_other_faults() -> None:
    assert "out_of_memory" in describe_failure(RuntimeError("CUDA out of memory. Tried …"))
    assert "out_of_memory" in describe_failure(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"))
    assert "error" in describe_failure(ValueError("no such key"))


def test_a_process_that_ends_without_an_answer_says_what_it_printed(tmp_path: Path) -> None:
    worker = Worker("this", {}, tmp_path / "worker")
    with pytest.raises(WorkerLost, match="Simple is better than complex"):
        worker.ask("build", 60)
    worker.close()  # once more does no harm


def test_a_watch_keeps_the_most_that_nvidia_smi_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "*memory.used,clocks.sm*) echo 4096, 1980 ;;\n"
        "*query-compute-apps*) echo 4242, 3072 ;;\n"
        "*driver_version*) echo 550.54, 700.00, 1980 ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with Watch(every_seconds=0.01) as watch:
        watch.pid = 4242
        while not watch.process_peak_bytes:
            time.sleep(0.01)
    assert watch.device_first_bytes == watch.device_peak_bytes == 4 * 2**30
    assert watch.process_peak_bytes == 3 * 2**30
    assert set(watch.sm_clocks_mhz) == {1980}
    assert describe_limits() == "driver 550.54, power limit 700.00 W, highest clock 1980 MHz"


def test_nvidia_smi_that_knows_nothing_is_passed_over() -> None:
    assert read_pairs("1234, 1980\n[N/A], 5\n\n77, 12.5") == [(1234, 1980), (77, 12.5)]


# Kernels.


def test_busy_time_counts_overlapping_kernels_once() -> None:
    spans = [Span("a", 0, 10), Span("b", 5, 12), Span("c", 20, 30), Span("d", 22, 25)]
    assert measure_busy(spans) == 22


def test_a_trace_gives_shares_launches_and_idle_time() -> None:
    events = [
        {"ph": "X", "cat": "kernel", "name": "nvjet_tst_128x256", "ts": 0, "dur": 600_000},
        {"ph": "X", "cat": "kernel", "name": "flash_fwd_kernel", "ts": 700_000, "dur": 150_000},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoH", "ts": 900_000, "dur": 50_000},
        # Neither of these is work of the device.
        {"ph": "X", "cat": "gpu_user_annotation", "name": "step", "ts": 0, "dur": 950_000},
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "ts": 0, "dur": 5},
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaStreamSynchronize", "ts": 0, "dur": 70},
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 0, "dur": 9},
    ]
    assert measure_waits(events) == 70
    found = summarise_spans(read_spans(events), 2, 0.5)  # two steps of half a second
    assert found["device_seconds"] == 0.4  # 0.8 s in two steps
    assert found["idle_share"] == 0.2
    assert found["launches_per_step"] == 1.5
    assert found["kinds"]["matrix products"] == {"share": 0.75, "seconds": 0.3}
    assert found["kernels"][1]["name"] == "flash_fwd_kernel"
    assert found["kernels"][1]["share"] == 0.1875


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n", "matrix products"),
        ("void pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel", "attention"),
        ("fmha_cutlassF_bf16_aligned_64x64_rf_sm80", "attention"),
        ("void kDequantizeBlockwise<__nv_bfloat16, 512, 64, 8, 2>", "quantisation"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>", "optimizer"),
        ("Memcpy HtoD (Pageable -> Device)", "copies and casts"),
        ("void at::native::unrolled_elementwise_kernel<direct_copy_kernel_cuda>",
         "copies and casts"),
        ("void at::native::vectorized_elementwise_kernel<4, silu_kernel>", "elementwise and sums"),
        ("void at::native::indexSelectLargeIndex<c10::BFloat16>", "embedding and indexing"),
    ],
)  # fmt: skip
def test_kernels_are_grouped_by_what_they_do(name: str, kind: str) -> None:
    assert find_kind(name) == kind


# The page.


def test_the_page_says_of_every_part_that_it_is_not_yet_measured(tmp_path: Path) -> None:
    assert build_page(tmp_path).count("Not yet measured.") == 5


def test_small_results_are_no_measurements_of_a_gpu(tmp_path: Path) -> None:
    write_part(tmp_path, "smoke", {"test_a.py": {"passed": 3}}, size="small")
    page = build_page(tmp_path)
    assert page.count("Not yet measured.") == 5
    assert "test_a.py" not in page


def test_the_page_shows_the_figures_of_each_machine(tmp_path: Path) -> None:
    write_part(tmp_path / "h100", "speed", {"8b lora 4096": SPEED_CELL})
    write_part(tmp_path / "h100", "plan", {"8b lora 2 x 2048": PLAN_CELL})
    write_part(tmp_path / "h100", "profile", {"8b lora 4096": PROFILE_CELL})
    write_part(tmp_path / "h200", "smoke", SMOKE_CELLS, device="NVIDIA H200")
    page = build_page(tmp_path)
    assert page.index("## NVIDIA H100") < page.index("## NVIDIA H200")
    assert page.count("Not yet measured.") == 2 + 4
    assert "| 8B, 4,096 | 12,000 (39.0%) | out of memory | does not fit by plan: 90.0 of" in page
    assert "| 8B, 4,096 | 38.5 / 41.0 |" in page
    assert "| 8b lora 2 x 2048 | 40.0 | +5% | 38.0 | +0% | 38.0 |" in page
    assert "| 8b lora 2 x 2048 | 9,000 | -10% | 10,100 | +1% | 10,000 |" in page
    assert "| matrix products | 75.0% |" in page
    assert "| device busy / host busy, s | 0.333 / 0.200 |" in page
    assert "| test_a.py | 12 | 0 | 3.5 |" in page


def test_what_failed_stands_on_the_page_with_its_reason(tmp_path: Path) -> None:
    cells = {
        "8b lora 4096": {"failed": "RuntimeError: the driver | is too old", "took_seconds": 1.0},
        "8b lora 512": {
            **SPEED_CELL,
            "contestants": {**SPEED_CELL["contestants"], "TRL": {"failed": "TypeError: odd"}},
        },
    }
    write_part(tmp_path, "speed", cells, status="failed", why="failed: 8b lora 4096")
    page = build_page(tmp_path)
    assert "*Failed. failed: 8b lora 4096*" in page
    assert "- 8b lora 4096: RuntimeError: the driver | is too old" in page
    assert "- 8b lora 512, TRL: TypeError: odd" in page


def write_part(
    folder: Path,
    name: str,
    cells: dict[str, Any],
    *,
    size: str = "full",
    status: str = "done",
    why: str = "",
    device: str = "NVIDIA H100 80GB HBM3",
) -> None:
    folder.mkdir(exist_ok=True)
    part = {
        "part": name,
        "status": status,
        "why": why,
        "size": size,
        "date": "2026-12-01T10:00:00+00:00",
        "seconds": 400.0,
        "hardware": {
            "system": "Linux",
            "processor": "CPU (16 threads)",
            "device": "cuda",
            "device_name": device,
            "device_count": 1,
            "memory_bytes": 80 * 2**30,
        },
        "versions": {"python": "3.12", "torch": "2.13.0"},
        "git_revision": "0123456789abcdef",
        "notes": {"tokens": "as they are"},
        "cells": cells,
    }
    (folder / f"{name}.json").write_text(json.dumps(part))


SPEED_CELL: dict[str, Any] = {
    "shape": "8b",
    "method": "lora",
    "length": 4_096,
    "labelled": "all",
    "variant": "",
    "parameters": 8.03e9,
    "flops_per_weight_and_token": 4,
    "largest_loss_difference": 0.002,
    "contestants": {
        "Luthier": {
            "tokens_per_second": 12_000.0,
            "share_of_peak": 0.3897,
            "allocated_gib": 38.5,
            "reserved_gib": 41.0,
            "times_luthier": 1.0,
            "first_step_seconds": 2.0,
        },
        "TRL": {"out_of_memory": "CUDA out of memory"},
        "TRL, no checkpointing": {"does_not_fit": "by plan: 90.0 of 79.6 GiB"},
    },
}
PLAN_CELL: dict[str, Any] = {
    "predicted": {
        "before": {"allocated_gib": 40.0, "shown_gib": 45.0, "tokens_per_second": 9_000.0},
        "after": {"allocated_gib": 38.0, "shown_gib": 45.0, "tokens_per_second": 10_100.0},
    },
    "measured": {"allocated_gib": 38.0, "shown_gib": 43.0, "tokens_per_second": 10_000.0},
    "errors": {
        "before": {"allocated_gib": 5.3, "shown_gib": 4.7, "tokens_per_second": -10.0},
        "after": {"allocated_gib": 0.0, "shown_gib": 4.7, "tokens_per_second": 1.0},
    },
}
PROFILE_CELL: dict[str, Any] = {
    "step_seconds": 0.34,
    "device_seconds": 0.333,
    "host_seconds": 0.2,
    "idle_share": 0.02,
    "launches_per_step": 5_000.0,
    "kinds": {"matrix products": {"share": 0.75, "seconds": 0.25}},
    "kernels": [
        {
            "name": "nvjet_tst",
            "kind": "matrix products",
            "share": 0.5,
            "per_step": 400.0,
            "microseconds_each": 400.0,
        }
    ],
}
SMOKE_CELLS: dict[str, Any] = {
    "test_a.py": {"passed": 12, "failed_tests": 0, "seconds": 3.5, "took_seconds": 4.0}
}
