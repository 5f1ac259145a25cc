"""What goes wrong in a run: each a typed error, nothing half-written, the last good state kept."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import LORA, make_recipe, read_lines, train
from safetensors.torch import load_file, save_file
from tiny_models import save_base_model

from luthier.data.batches import PackedBatch
from luthier.errors import DataError, LuthierError, ModelError, OutputError, TrainingError
from luthier.objectives.objective import LossShare, StepTotals
from luthier.train import loop
from luthier.train.checkpoint import list_checkpoints
from luthier.train.module import TrainedModule
from luthier.train.validation import ValidationResult


@contextlib.contextmanager
def refused(error: type[LuthierError], match: str, output: Path) -> Iterator[None]:
    """The block raises `error`, and `output` is as it was: not there."""
    with pytest.raises(error, match=match):
        yield
    assert not output.exists()


def test_a_rate_that_blows_up_stops_with_the_step_and_keeps_a_finite_checkpoint(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(
        tiny_base,
        chat_file,
        learning_rate=1e30,
        warmup_steps=3,
        lr_scheduler="constant",
        save_steps=1,
        max_steps=20,
    )
    with pytest.raises(TrainingError, match=r"step \d+: the loss is (nan|inf).*learning_rate"):
        train(recipe, tmp_path)
    checkpoints = list_checkpoints(tmp_path / "checkpoints")
    assert checkpoints
    for checkpoint in checkpoints:
        for tensor in load_file(checkpoint / "weights.safetensors").values():
            assert torch.isfinite(tensor).all()
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "done.json").exists()


def test_a_base_model_with_a_poisoned_weight_is_refused(chat_file: Path, tmp_path: Path) -> None:
    base = save_base_model(tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    tensors["model.layers.0.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with refused(ModelError, "not numbers", tmp_path / "run"):
        train(make_recipe(base, chat_file, **LORA), tmp_path / "run")


def test_a_loss_that_is_no_number_stops_before_the_weights_move(
    tiny_base: Path, chat_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = TrainedModule.forward
    steps = iter(range(100))

    def poisoned(self: TrainedModule, batch: PackedBatch, totals: StepTotals) -> LossShare:
        share = forward(self, batch, totals)
        return LossShare(share.loss * float("nan"), {}) if next(steps) == 3 else share

    monkeypatch.setattr(TrainedModule, "forward", poisoned)
    recipe = make_recipe(tiny_base, chat_file, **LORA, save_steps=1)
    with pytest.raises(TrainingError, match="step 4: the loss is nan"):
        train(recipe, tmp_path)
    assert list_checkpoints(tmp_path / "checkpoints")[-1].name == "step-000003"
    monkeypatch.undo()
    train(recipe, tmp_path, resume=True)  # from the last good checkpoint
    assert [line["step"] for line in read_lines(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_weights_that_are_no_numbers_are_never_saved(
    tiny_base: Path, chat_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The loss of the step that breaks the weights is still a number.
    take_step = loop.take_step

    def breaking(parts: Any, settings: Any, step: int) -> Any:
        report = take_step(parts, settings, step)
        if step == 2:
            with torch.no_grad():
                next(iter(parts.adapter.parameters.values())).fill_(float("inf"))
        return report

    monkeypatch.setattr(loop, "take_step", breaking)
    recipe = make_recipe(tiny_base, chat_file, **LORA, save_steps=1, max_steps=3)
    with pytest.raises(TrainingError, match="no longer made of numbers"):
        train(recipe, tmp_path)
    assert list_checkpoints(tmp_path / "checkpoints")[-1].name == "step-000002"
    assert not list(tmp_path.rglob(".staged-*"))


def test_a_validation_loss_that_is_no_number_stops_the_run(
    tiny_base: Path, chat_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "validate", lambda *_: ValidationResult(float("nan"), {}))
    recipe = make_recipe(
        tiny_base, chat_file, **LORA, val_set_size=4, eval_steps=2, early_stopping_patience=1
    )
    with pytest.raises(TrainingError, match="step 2: the validation loss is nan"):
        train(recipe, tmp_path)


def _train_with_little_disk(limit_bytes: int, recipe: dict[str, Any], output: str, told: Any):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    from luthier.recipe.load import parse_recipe

    try:
        train(parse_recipe(recipe).recipe, Path(output))
    except Exception as error:
        told.put((type(error).__name__, str(error)))
    else:
        told.put(("", "trained"))


@pytest.mark.parametrize(
    ("limit_bytes", "saves"),
    [(60_000, "weights"), (200_000, "optimizer")],
)
def test_a_full_disk_is_an_output_error_and_leaves_nothing_half_written(
    limit_bytes: int, saves: str, tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    # Full fine-tuning: 140 KB of weights, 280 KB of moments; files may not grow beyond the limit.
    recipe = make_recipe(tiny_base, chat_file, save_steps=1).model_dump(
        mode="json", exclude_defaults=True
    )
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    arguments = (limit_bytes, recipe, str(tmp_path / "run"), told)
    process = context.Process(target=_train_with_little_disk, args=arguments)
    process.start()
    name, message = told.get(timeout=60)
    process.join()
    assert name == "OutputError", message
    assert "cannot write" in message
    assert "free space" in message
    assert not list_checkpoints(tmp_path / "run" / "checkpoints")
    assert not list((tmp_path / "run").rglob(".staged-*"))
    assert not (tmp_path / "run" / "done.json").exists()


def test_a_full_disk_cuts_no_line_of_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    from luthier.train.progress import Recorder

    recorder = Recorder(
        Path("/dev/full"),
        name="x",
        total_steps=1,
        steps_per_epoch=1,
        trackers=None,
        active=False,
        from_step=0,
    )
    recorder._active = True
    with pytest.raises(OutputError, match="No space left"):
        recorder._write({"step": 1, "loss": 1.0})


def test_an_output_that_is_a_file_is_refused(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(OutputError, match="cannot write"):
        train(make_recipe(tiny_base, chat_file, **LORA), tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_an_output_that_cannot_be_written_is_refused(tiny_base: Path, chat_file: Path) -> None:
    with pytest.raises(OutputError, match="cannot write /proc"):
        train(make_recipe(tiny_base, chat_file, **LORA), Path("/proc/luthier-run"))


def test_no_such_model(chat_file: Path, tmp_path: Path) -> None:
    with refused(ModelError, "no such model: nowhere/at-all", tmp_path / "run"):
        train(make_recipe("nowhere/at-all", chat_file, **LORA), tmp_path / "run")


def test_a_model_whose_file_lacks_a_weight_is_refused(chat_file: Path, tmp_path: Path) -> None:
    base = save_base_model(tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with refused(ModelError, r"model.layers.1.mlp.up_proj.weight", tmp_path / "run"):
        train(make_recipe(base, chat_file, **LORA), tmp_path / "run")


def test_a_model_whose_file_is_cut_off_is_refused(chat_file: Path, tmp_path: Path) -> None:
    base = save_base_model(tmp_path / "base")
    file = base / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with refused(ModelError, "cannot load the model", tmp_path / "run"):
        train(make_recipe(base, chat_file, **LORA), tmp_path / "run")


def test_an_example_longer_than_the_model_reads_is_refused(chat_file: Path, tmp_path: Path) -> None:
    base = save_base_model(tmp_path / "base", "gpt2", n_positions=40)
    with refused(ModelError, r"reads at most 40\. Write sequence_len: 40", tmp_path / "run"):
        train(make_recipe(base, chat_file, **LORA), tmp_path / "run")


def test_empty_data_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with refused(DataError, "empty.jsonl", tmp_path / "run"):
        train(make_recipe(tiny_base, tmp_path / "empty.jsonl", **LORA), tmp_path / "run")


def test_a_truncated_line_is_refused_by_file_and_number(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    lines = chat_file.read_text().splitlines()
    (tmp_path / "cut.jsonl").write_text("\n".join([*lines[:3], lines[3][:20]]))
    with refused(DataError, r"cut.jsonl:4", tmp_path / "run"):
        train(make_recipe(tiny_base, tmp_path / "cut.jsonl", **LORA), tmp_path / "run")


def test_a_cadence_that_never_fires_leaves_no_folder(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **LORA, save_steps=500, max_steps=None, num_epochs=1)
    with refused(TrainingError, "save_steps: 500 never fires", tmp_path / "run"):
        train(recipe, tmp_path / "run")


def test_conversations_without_a_template_are_refused(chat_file: Path, tmp_path: Path) -> None:
    base = save_base_model(tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    with refused(ModelError, "chat_template: chatml", tmp_path / "run"):
        train(make_recipe(base, chat_file, **LORA), tmp_path / "run")


def test_metrics_cut_off_by_a_kill_are_mended_on_resume(
    tiny_base: Path, chat_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **LORA, save_steps=2)
    take_step = loop.take_step

    def dying(parts: Any, settings: Any, step: int) -> Any:
        if step == 5:
            raise KeyboardInterrupt
        return take_step(parts, settings, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", dying)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 6, "loss": 1.0})[:-4])
    train(recipe, tmp_path, resume=True)
    assert [line["step"] for line in read_lines(tmp_path)] == [1, 2, 3, 4, 5, 6]
