"""Whole runs on the device: killed and resumed, repeated, moved to another device, merged."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_base_model
from transformers import AutoModelForCausalLM

from luthier import api, device
from luthier.calibrate import FEWEST_STEPS, calibrate
from luthier.errors import PlanError
from luthier.evaluate.model import load_model
from luthier.plan.machine.devices import describe_this_machine
from luthier.plan.time.calibration import describe_machine, read_calibrations
from luthier.recipe.load import parse_recipe

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
import kill_test  # noqa: E402  # pyright: ignore[reportMissingImports]
from matrix_techniques import WIDTHS, write_data  # noqa: E402  # pyright: ignore[reportMissingImports]

pytestmark = pytest.mark.gpu

PATIENCE_SECONDS = 120
TWICE = ("lora", "adamw_8bit")  # trained twice from the start too
LORA: dict[str, Any] = {
    "adapter": "lora",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_target_linear": True,
}
KINDS: dict[str, dict[str, Any]] = {
    "lora": {
        **LORA,
        "lora_dropout": 0.1,
        "peft_use_dora": True,
        "neftune_noise_alpha": 5,
        "bf16": True,
    },
    "qlora": {**LORA, "adapter": "qlora", "load_in_4bit": True, "bf16": True},
    "adamw_8bit": {"optimizer": "adamw_bnb_8bit", "bf16": True},
    "galore": {"optimizer": "galore_adamw", "galore_rank": 8, "galore_update_proj_gap": 4},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough for moments in 8 bits, and for packed rows of whole blocks."""
    return save_base_model(tmp_path_factory.mktemp("base"), initializer_range=0.05, **WIDTHS)


def make_keys(base: Path, data: Path, **changes: Any) -> dict[str, Any]:
    usual = {key: value for key, value in kill_test.COMMON.items() if key != "datasets"}
    return {**usual, "base_model": str(base), "datasets": [{"path": str(data)}], **changes}


def start_servers() -> Any:
    """Runs are forked from a process that has imported everything and has touched no GPU."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["luthier.train.run"])
    return context


def kill_after_a_checkpoint(process: Any, output: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not any((output / "checkpoints").glob("step-*")):
        assert time.monotonic() < end, "no checkpoint yet"
        assert process.exitcode is None, f"the run ended with exit code {process.exitcode}"
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -9, "the run was over before it could be killed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_and_resumed_run_ends_with_the_bytes_of_one_that_was_not(
    kind: str, base: Path, chat_file: Path, tmp_path: Path, place: torch.device
) -> None:
    context, keys = start_servers(), make_keys(base, chat_file, **KINDS[kind])
    reference = kill_test.make_reference(context, keys, tmp_path / "whole")
    process, _ = kill_test.start(context, keys, tmp_path / "cut")
    kill_after_a_checkpoint(process, tmp_path / "cut")
    process, _ = kill_test.start(context, keys, tmp_path / "cut")
    process.join()
    assert process.exitcode == 0
    assert kill_test.compare(reference, tmp_path / "whole", tmp_path / "cut") == []
    if place.type == "cuda" and kind in TWICE:  # a processor has shown that elsewhere
        again = kill_test.make_reference(context, keys, tmp_path / "again")
        assert again.files == reference.files


RESUME = """
import sys
from pathlib import Path
from luthier.recipe.load import load_recipe
from luthier.train.run import TrainOptions, train_recipe
output = Path(sys.argv[1])
train_recipe(load_recipe(output / "recipe.yaml").recipe, output, TrainOptions(resume=True))
"""


def begin(keys: dict[str, Any], output: Path) -> None:
    """On this device, up to a checkpoint."""
    process, _ = kill_test.start(start_servers(), keys, output)
    kill_after_a_checkpoint(process, output)


def test_a_run_begun_on_one_device_ends_on_another(
    base: Path, chat_file: Path, tmp_path: Path
) -> None:
    keys = make_keys(base, chat_file, **LORA, optimizer="adamw_torch_fused", tf32=False)
    kill_test.make_reference(start_servers(), keys, tmp_path / "whole")
    begin(keys, tmp_path / "cut")
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", RESUME, str(tmp_path / "cut")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env=hidden,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert kill_test.read_steps(tmp_path / "cut") == kill_test.read_steps(tmp_path / "whole")
    found, expected = (kill_test.read_losses(tmp_path / name) for name in ("cut", "whole"))
    assert found == pytest.approx(expected, rel=1e-3)


def ask(causal: Any, place: torch.device) -> torch.Tensor:
    with torch.no_grad():
        return causal(torch.arange(3, 27, device=place).reshape(2, 12)).logits


@pytest.mark.parametrize("changes", [{"peft_use_dora": True}, {"load_in_4bit": True}])
def test_a_merged_run_answers_as_the_run_does(
    changes: dict[str, Any], base: Path, chat_file: Path, tmp_path: Path, place: torch.device
) -> None:
    adapter = {"adapter": "qlora"} if "load_in_4bit" in changes else {}
    keys = make_keys(base, chat_file, **{**LORA, **adapter, **changes}, max_steps=3, eval_steps=3)
    api.train(keys, tmp_path / "run")
    assert device._requires_order, "an operation of this model has no fixed order here"
    done = json.loads((tmp_path / "run" / "done.json").read_text())
    assert done["peak_memory_bytes"] > 0
    api.merge(tmp_path / "run", tmp_path / "merged")
    run = load_model(str(tmp_path / "run"), bf16=False)
    assert run.device == place
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    found, expected = ask(plain.eval().to(place), place), ask(run.causal, place)
    untrained = ask(load_model(str(base), bf16=False).causal, place)
    error = float((found - expected).norm() / expected.norm())
    assert error < 1e-5
    assert float((expected - untrained).norm() / expected.norm()) > 100 * error


@pytest.mark.parametrize("rl", ["dpo", "orpo"])
def test_preferences_on_a_packed_base_with_checkpointed_layers_train(
    rl: str, base: Path, tmp_path: Path
) -> None:
    write_data(tmp_path / "data")
    keys = make_keys(
        base, tmp_path / "data" / "pairs.jsonl", **KINDS["qlora"],
        rl=rl, gradient_checkpointing=True, max_steps=4, val_set_size=0, eval_steps=None,
    )  # fmt: skip
    keys["datasets"] = [{"path": str(tmp_path / "data" / "pairs.jsonl"), "type": "preference"}]
    api.train({key: value for key, value in keys.items() if value is not None}, tmp_path / "run")
    losses = kill_test.read_losses(tmp_path / "run")
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_a_calibration_measures_steps_and_memory_of_the_device(
    base: Path, chat_file: Path, tmp_path: Path
) -> None:
    keys = make_keys(base, chat_file, **LORA)
    store = tmp_path / "calibrations.jsonl"
    try:
        machine = describe_this_machine()
    except PlanError as error:
        pytest.skip(str(error))
    found = calibrate(parse_recipe(keys).recipe, FEWEST_STEPS, store=store)
    assert read_calibrations(store) == [found]
    assert found.machine == describe_machine(machine, 1, "none")
    assert found.step_seconds > 0
    assert 0 < found.peak_memory_bytes < device.describe_device().memory_bytes
