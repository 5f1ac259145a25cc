"""Where the facts of a base model come from, in which order, and what is said when nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import PlanError
from luthier.models.places import EMBEDDED_FOLDER, find_root
from luthier.plan.model import hub, model_config
from luthier.plan.model.model_config import read_facts

SMALL = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 10,
}
# Attention 4 x 8 x 8, feed-forward 3 x 8 x 16, three norms of 8, embedding and head 10 x 8 each.
SMALL_PARAMETERS = 256 + 384 + 24 + 160
RECIPE = """base_model: {base}
adapter: lora
lora_r: 2
lora_alpha: 4
lora_target_linear: true
learning_rate: 1e-4
micro_batch_size: 1
num_epochs: 1
datasets:
  - path: data.jsonl
    type: alpaca
"""


@pytest.fixture(autouse=True)
def without_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-cache"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_a_config_file_that_is_given_goes_before_everything(tmp_path: Path) -> None:
    facts = read_facts("openai-community/gpt2", write_json(tmp_path / "mine.json", SMALL))
    assert facts.parameters == SMALL_PARAMETERS
    assert facts.name == "openai-community/gpt2"
    assert facts.source == f"--model-config {tmp_path / 'mine.json'}"


def test_the_embedded_model_is_read_from_the_folder_that_is_trained() -> None:
    assert model_config.EMBEDDED_FOLDER.samefile(EMBEDDED_FOLDER)
    facts = read_facts("embedded")
    assert (facts.family, facts.layers, facts.width, facts.vocabulary) == ("qwen2", 4, 256, 8192)


def test_a_models_folder_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", SMALL)
    assert read_facts(str(tmp_path)).parameters == SMALL_PARAMETERS


def test_an_adapter_has_the_shape_of_its_base(tmp_path: Path) -> None:
    write_json(tmp_path / "base" / "config.json", SMALL)
    adapter = write_json(
        tmp_path / "adapter" / "adapter_config.json",
        {"base_model_name_or_path": str(tmp_path / "base")},
    ).parent
    assert read_facts(str(adapter)).parameters == SMALL_PARAMETERS


def test_a_run_that_stands_on_a_run_is_followed_to_the_same_root_as_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "base" / "config.json", SMALL)
    for name, base in (("first", "base"), ("second", "first")):
        (tmp_path / name / "adapter").mkdir(parents=True)
        recipe = RECIPE.format(base=base)
        (tmp_path / name / "recipe.yaml").write_text(recipe, encoding="utf-8")
    assert Path(find_root("second")).samefile(tmp_path / "base")
    assert read_facts("second").parameters == SMALL_PARAMETERS
    assert read_facts("second/adapter").parameters == SMALL_PARAMETERS


def test_a_fully_trained_run_has_its_own_configuration(tmp_path: Path) -> None:
    write_json(tmp_path / "run" / "model" / "config.json", SMALL)
    (tmp_path / "run" / "recipe.yaml").write_text("base_model: gpt2\n", encoding="utf-8")
    assert read_facts(str(tmp_path / "run")).parameters == SMALL_PARAMETERS


def test_adapters_in_a_circle_are_refused(tmp_path: Path) -> None:
    for name, base in (("a", "b"), ("b", "a")):
        write_json(
            tmp_path / name / "adapter_config.json",
            {"base_model_name_or_path": str(tmp_path / base)},
        )
    with pytest.raises(PlanError, match="in a circle"):
        read_facts(str(tmp_path / "a"))


def test_the_hubs_cache_on_disk_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "models--someone--small"
    write_json(folder / "snapshots" / "abc" / "config.json", SMALL)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc", encoding="utf-8")
    facts = read_facts("someone/small")
    assert facts.parameters == SMALL_PARAMETERS
    assert facts.source == "the hub's cache: someone/small"


def test_offline_an_unknown_name_is_answered_with_the_flag_and_the_nearest() -> None:
    with pytest.raises(PlanError) as caught:
        read_facts("Qwen/Qwen2.5-7B-Instuct")
    message = str(caught.value)
    assert "HF_HUB_OFFLINE is set" in message
    assert "--model-config FILE" in message
    assert "Qwen/Qwen2.5-7B," in message


def test_a_hub_that_cannot_be_reached_is_said_with_the_flag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    # The discard port: nothing listens there.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(PlanError, match=r"could not be reached.*--model-config FILE"):
        read_facts("someone/small")


def test_the_hub_is_asked_with_the_token_and_no_other_host_sees_it() -> None:
    request = hub.urllib.request.Request(
        "https://hub.example/a/resolve/main/config.json", headers={"Authorization": "Bearer x"}
    )
    handler = hub._SameHostRedirects()  # pyright: ignore[reportPrivateUsage]

    def follow(url: str) -> Any:
        return handler.redirect_request(request, None, 302, "Found", {}, url)

    assert follow("https://hub.example/b").get_header("Authorization") == "Bearer x"
    assert follow("https://elsewhere.example/b").get_header("Authorization") is None
    assert follow("http://hub.example/b").get_header("Authorization") is None


def test_a_folder_that_is_not_there_is_not_looked_up_on_the_hub() -> None:
    with pytest.raises(PlanError, match=r"the folder \./nowhere is not there"):
        read_facts("./nowhere")


def test_a_folder_without_a_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"has no config\.json"):
        read_facts(str(tmp_path))


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    with pytest.raises(PlanError, match=r"bad\.json is not valid JSON"):
        read_facts("gpt2", tmp_path / "bad.json")


def test_facts_are_read_without_torch() -> None:
    program = (
        "import sys; from luthier.plan.model.model_config import read_facts; read_facts('gpt2');"
        "print(sorted({'torch', 'transformers', 'scipy', 'urllib.request'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
