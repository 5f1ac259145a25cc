"""`bf16: auto`: measured once, decided once, and kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from luthier import precision, precision_store
from luthier.errors import TrainingError
from luthier.files import RunLayout
from luthier.plan.machine.devices import find_device
from luthier.precision import decide, measure_gain
from luthier.precision_store import MeasuredGain, find_gain, remember_gain
from luthier.train import begun
from luthier.train.begun import settle_precision


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "user" / "precisions.jsonl"
    monkeypatch.setenv(precision_store.STORE_VARIABLE, str(file))
    return file


@pytest.fixture(autouse=True)
def on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


@pytest.mark.parametrize(
    ("gain", "share", "wins"),
    [(1.6, 1.0, True), (1.15, 0.8, True), (1.14, 1.0, False), (1.6, 0.6, False), (0.1, 0, False)],
)
def test_only_a_clear_winner_takes_the_place_of_float32(
    gain: float, share: float, wins: bool, store: Path
) -> None:
    assert remember_gain(MeasuredGain(gain, share))
    decision = decide("auto")
    assert decision.precision == ("bfloat16" if wins else "float32")
    assert ("no clear winner" in decision.why) is not wins


def test_what_was_measured_is_found_again_and_the_newest_counts(store: Path) -> None:
    assert find_gain() is None
    remember_gain(MeasuredGain(1.5, 1.0))
    remember_gain(MeasuredGain(1.25, 0.8))
    assert find_gain() == MeasuredGain(1.25, 0.8)


def test_another_machine_s_measurement_does_not_hold_here(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_gain(MeasuredGain(1.5, 1.0))
    monkeypatch.setenv("OMP_NUM_THREADS", "17")
    assert find_gain() is None


@pytest.mark.parametrize("damage", ["{", "[1]", '{"version": 1}', '{"version": 1, "machine": 3}'])
def test_a_damaged_store_is_measured_again(store: Path, damage: str) -> None:
    store.parent.mkdir()
    store.write_text(damage + "\n", encoding="utf-8")
    assert find_gain() is None


def test_it_is_measured_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def measure() -> MeasuredGain:
        calls.append(1)
        return MeasuredGain(2.0, 1.0)

    monkeypatch.setattr(precision, "measure_gain", measure)
    assert decide("auto").precision == decide("auto").precision == "bfloat16"
    assert len(calls) == 1


def test_a_store_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv(precision_store.STORE_VARIABLE, str(tmp_path / "file" / "precisions.jsonl"))
    monkeypatch.setattr(precision, "measure_gain", lambda: MeasuredGain(2.0, 1.0))
    assert decide("auto").precision == "bfloat16"


def test_what_the_recipe_asks_for_is_not_measured(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "measure_gain", lambda: pytest.fail("measured"))
    assert decide(True).precision == "bfloat16"
    assert decide(False).precision == "float32"


def test_a_measurement_is_a_ratio_of_real_steps() -> None:
    measured = measure_gain()
    assert 0 < measured.gain < 100
    assert 0 <= measured.share <= 1


def test_a_hopeless_precision_is_given_up_after_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def time_step(_weights: object, name: str) -> float:
        steps.append(name)
        return 1.0 if name == "float32" else 3.5

    monkeypatch.setattr(precision, "_time_step", time_step)
    measured = measure_gain()
    assert not measured.wins
    assert measured.gain == pytest.approx(1 / 3.5)
    assert steps.count("bfloat16") == 1


def test_ratios_are_taken_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    # A machine that slows down for one pair slows both; the median of the ratios is 2.
    seconds = {"float32": [2.0] * 2 + [2, 2, 20, 2, 1], "bfloat16": [1.0, 1, 1, 10, 1, 1]}
    monkeypatch.setattr(precision, "_time_step", lambda _weights, name: seconds[name].pop(0))
    assert measure_gain() == MeasuredGain(2.0, 0.8)


def test_a_run_goes_on_as_it_began(store: Path, tmp_path: Path) -> None:
    layout = RunLayout(tmp_path / "run")
    layout.root.mkdir()
    layout.provenance.write_text(
        json.dumps({"precision": "bfloat16", "precision_why": "measured"}), encoding="utf-8"
    )
    remember_gain(MeasuredGain(1.0, 0.0))
    assert settle_precision(layout, "auto").precision == "bfloat16"
    # What the recipe asks for, and what has begun, stand above what a study says.
    assert settle_precision(layout, "auto", "float32").precision == "bfloat16"
    assert settle_precision(layout, False, "bfloat16").precision == "float32"


def test_a_run_of_a_study_computes_as_the_study_says(store: Path, tmp_path: Path) -> None:
    remember_gain(MeasuredGain(2.0, 1.0))
    assert settle_precision(RunLayout(tmp_path), "auto", "float32").precision == "float32"


def test_a_run_older_than_the_decision_stays_in_float32(store: Path, tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    layout.provenance.write_text(json.dumps({"hardware": {"device": "cpu"}}), encoding="utf-8")
    remember_gain(MeasuredGain(2.0, 1.0))
    assert settle_precision(layout, "auto").precision == "float32"


def test_a_run_in_bfloat16_does_not_go_on_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = RunLayout(tmp_path)
    layout.provenance.write_text(json.dumps({"precision": "bfloat16"}), encoding="utf-8")
    monkeypatch.setattr(begun, "has_bfloat16", lambda: False)
    with pytest.raises(TrainingError, match=r"has none\. Go on with it on a device that has"):
        settle_precision(layout, "auto")


def test_a_plan_on_this_processor_takes_what_was_measured(store: Path) -> None:
    plain = find_device("cpu")
    assert not plain.has_bf16
    assert plain.bf16_tflops == plain.float32_tflops
    remember_gain(MeasuredGain(1.5, 1.0))
    faster = find_device("cpu")
    assert faster.has_bf16
    assert faster.float32_tflops == plain.float32_tflops
    assert faster.bf16_tflops.value == pytest.approx(1.5 * plain.bf16_tflops.value)


def test_the_decision_can_be_asked_of_a_process_of_its_own(store: Path) -> None:
    remember_gain(MeasuredGain(1.5, 1.0))
    done = subprocess.run(
        [sys.executable, "-m", "luthier.precision"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["precision"] == "bfloat16"
