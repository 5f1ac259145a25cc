"""Each tracker records what metrics.jsonl holds, on this machine alone."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import LORA, make_recipe, read_losses, train

from luthier.errors import TrainingError
from luthier.train import tracking


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    logging.getLogger("mlflow").setLevel(logging.WARNING)


def run(tracker: str, base: Path, data: Path, output: Path, **changes: Any) -> list[float]:
    train(make_recipe(base, data, **LORA, report_to=[tracker], **changes), output)
    losses = read_losses(output)
    assert len(losses) == 6
    return losses


def test_tensorboard_reads_back(tiny_base: Path, chat_file: Path, tmp_path: Path) -> None:
    losses = run("tensorboard", tiny_base, chat_file, tmp_path / "run")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "logs" / "luthier"))
    events.Reload()
    scalars = events.Scalars("loss")
    assert [scalar.step for scalar in scalars] == [1, 2, 3, 4, 5, 6]
    assert [scalar.value for scalar in scalars] == pytest.approx(losses)


def read_log(file: Path) -> Iterator[bytes]:
    """The records of a LevelDB log after wandb's 7 bytes: blocks of 32 KiB, 7-byte headers."""
    content, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_wandb_offline_reads_back(tiny_base: Path, chat_file: Path, tmp_path: Path) -> None:
    losses = run("wandb", tiny_base, chat_file, tmp_path / "run", wandb_name="tried")
    from wandb.proto import wandb_internal_pb2

    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    found: list[float] = []
    names: list[str] = []
    for data in read_log(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "run":
            names.append(record.run.display_name)
        for item in record.history.item:
            if (item.key or "/".join(item.nested_key)) == "loss":
                found.append(float(item.value_json))
    assert found == pytest.approx(losses)
    assert "tried" in names


def test_mlflow_reads_back_from_the_runs_folder(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    losses = run(
        "mlflow", tiny_base, chat_file, tmp_path / "run", mlflow_experiment_name="my study"
    )
    from mlflow.tracking import MlflowClient

    client = MlflowClient((tmp_path / "run" / "mlruns").as_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'my study'")
    (recorded,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(recorded.info.run_id, "loss")
    assert [entry.step for entry in history] == [1, 2, 3, 4, 5, 6]
    assert [entry.value for entry in history] == pytest.approx(losses)
    assert recorded.info.status == "FINISHED"
    assert recorded.data.params["lora_r"] == "4"


def test_a_failed_run_does_not_hold_the_tracker_for_the_next(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError):
        run("mlflow", tiny_base, chat_file, tmp_path / "bad", learning_rate=1e30)
    run("mlflow", tiny_base, chat_file, tmp_path / "good")


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_written(
    tiny_base: Path, chat_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.tracking.is_wandb_available", lambda: False)
    monkeypatch.setattr("accelerate.accelerator.filter_trackers", lambda trackers, *_: [])
    with pytest.raises(TrainingError, match="wandb is not installed"):
        run("wandb", tiny_base, chat_file, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_environment_is_put_back() -> None:
    os.environ["LUTHIER_A"] = "before"
    with tracking.set_environment({"LUTHIER_A": "during", "LUTHIER_B": "during"}):
        assert os.environ["LUTHIER_A"] == os.environ["LUTHIER_B"] == "during"
    assert os.environ["LUTHIER_A"] == "before"
    assert "LUTHIER_B" not in os.environ
