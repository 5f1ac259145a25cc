"""`luthier plan`, `power` and `calibrate` as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Luthier, command

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "studies" / "elle" / "recipes"
AMOUNTS = ("--samples", 10_000, "--average-tokens", 700)
COLUMNS = 80


@pytest.fixture
def luthier(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Luthier:
    monkeypatch.chdir(ROOT)
    return command(capsys, monkeypatch)


def in_one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def planned(luthier: Luthier) -> Callable[..., dict[str, Any]]:
    def plan(*arguments: object) -> dict[str, Any]:
        outcome = luthier("plan", *arguments, "--json")
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)

    return plan


def test_a_72b_model_with_galore_does_not_fit_one_h200_and_the_plan_says_why(
    luthier: Luthier,
) -> None:
    file = RECIPES / "config_galore.yaml"
    outcome = luthier("plan", file, "--gpu", "H200", "--gpus", 1, *AMOUNTS)
    assert outcome.code == 0
    said = in_one_line(outcome.out)
    assert "Does not fit" in said
    assert "145 GB in bfloat16 alone" in said
    assert "What makes it fit" in said


def test_the_dora_recipe_fits_two_h200_that_share_the_model(planned: Any) -> None:
    plan = planned(RECIPES / "config_dora_neftune.yaml", "--gpu", "H200", "--gpus", 2, *AMOUNTS)
    assert plan["memory"]["fits"] == "yes"
    assert plan["model"]["parameters"] == 72_706_203_648
    assert plan["machine"]["sharding"] == "zero3-offload"
    # What the devices do not hold, the computer does: 2 bytes a weight, and 16 a trained one.
    expected = (2 * plan["model"]["parameters"] + 16 * plan["model"]["trainable"]) / 2**30
    assert plan["memory"]["host_gib"] == pytest.approx(expected, rel=0.01)


def test_copies_of_a_72b_model_do_not_fit(planned: Any) -> None:
    file = RECIPES / "config_dora_neftune.yaml"
    plan = planned(file, "--gpu", "H200", "--gpus", 2, "--sharding", "ddp", *AMOUNTS)
    memory = plan["memory"]
    assert memory["fits"] == "no"
    # 72.7 billion weights of 2 bytes, in GiB: all but embedding and head are in both devices whole.
    assert memory["parts"]["weights"] == pytest.approx(72_706_203_648 * 2 / 2**30, rel=0.01)


def test_parts_of_memory_add_up_and_every_number_says_what_it_rests_on(planned: Any) -> None:
    plan = planned(RECIPES / "config_qlora.yaml", "--gpu", "A100-80GB", *AMOUNTS)
    memory = plan["memory"]
    parts = {name: value for name, value in memory["parts"].items() if name != "basis"}
    assert sum(parts.values()) == pytest.approx(memory["allocated_gib"])
    for section in ("memory", "time", "cost"):
        numbers = {
            name
            for name, value in plan[section].items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        assert numbers <= plan[section]["basis"].keys()


def test_stated_throughput_gives_hours_by_division(planned: Any) -> None:
    plan = planned(RECIPES / "config.yaml", "--gpu", "H200", *AMOUNTS, "--tokens-per-second", 7000)
    # 5 epochs of 10,000 × 700 tokens.
    assert plan["time"]["train_hours"] == pytest.approx(5 * 10_000 * 700 / 7000 / 3600)
    assert plan["time"]["basis"]["tokens_per_second"].startswith("given")


def test_without_an_amount_of_data_memory_is_planned_and_time_is_not(luthier: Luthier) -> None:
    file = RECIPES / "config.yaml"
    plan = json.loads(luthier("plan", file, "--gpu", "H200", "--json").out)
    assert plan["memory"]["allocated_gib"] > 0
    assert plan["time"]["train_hours"] is None
    assert plan["cost"]["usd"] is None
    assert "--average-tokens" in in_one_line(luthier("plan", file, "--gpu", "H200").out)


def test_a_study_says_first_which_arms_its_evaluation_cannot_tell_apart(luthier: Luthier) -> None:
    lines = luthier("plan", "studies/elle/dora_components.yaml").out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("!"))
    table = next(number for number, line in enumerate(lines) if line.startswith("arm "))
    assert first < table
    said = in_one_line(" ".join(lines))
    assert "with 500 examples" in said
    assert "cannot be told apart" in said
    # +0.8, +2.5 and +2.9 points: far below what 500 examples show.
    for arm in ("rslora", "loraplus", "neftune"):
        assert f"{arm} (+" in said


def test_a_study_lists_a_plan_for_each_arm(planned: Any) -> None:
    plan = planned("studies/spark/math.yaml")
    lora, full = plan["arms"]
    assert (lora["name"], full["name"]) == ("lora", "full")
    # 395,000 samples × 400 tokens × 2 epochs ÷ 2,600 tokens a second.
    assert lora["time"]["train_hours"] == pytest.approx(395_000 * 400 * 2 / 2600 / 3600)
    assert lora["evaluation"]["gsm8k"]["examples"] == 1319
    # Scored by perplexity, of which no difference in points is known beforehand.
    assert lora["evaluation"]["gsm8k"]["detectable_difference"] is None


def test_dollars_a_point_and_scaling_stand_beside_the_arms(planned: Any) -> None:
    methods = {value["name"]: value for value in planned("studies/elle/methods.yaml")["values"]}
    dora = methods["dora-neftune"]
    # 6 hours of two cards at $4; scores 99.2, 85.7, 93.4, and untrained 92.3, 45.2, 68.1.
    assert dora["training_usd"] == pytest.approx(48)
    assert dora["usd_per_point"] == pytest.approx(48 / (278.3 / 3))
    assert dora["usd_per_gained_point"] == pytest.approx(48 / ((278.3 - 205.6) / 3))
    hardware = {value["name"]: value for value in planned("studies/elle/hardware.yaml")["values"]}
    assert hardware["dora-2"]["scaling"]["speed_up"] == pytest.approx(10 / 6)
    assert hardware["full-8"]["scaling"]["efficiency"] == pytest.approx(10 / 1.5 / 8)


@pytest.mark.parametrize(
    "arguments",
    [
        ("studies/elle/methods.yaml",),
        ("studies/elle/hardware.yaml",),
        ("studies/elle/recipes/config_galore.yaml", "--gpu", "H200", *AMOUNTS),
        ("studies/quickstart.yaml",),
        ("studies/elle/recipes/config.yaml", *AMOUNTS, "--gpu", "H100", "--budget", 50),
    ],
)
def test_plans_fit_80_columns(luthier: Luthier, arguments: tuple[Any, ...]) -> None:
    outcome = luthier("plan", *arguments)
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= COLUMNS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gpu", "H20"), "H200"),
        (("--gpu", "A100"), "A100-40GB and A100-80GB"),
        (("--set", "base_model=nobody/nothing", "--gpu", "H200"), "--model-config"),
        (("--set", "base_model=Qwen/Qwen2.5-7", "--gpu", "H200"), "Qwen/Qwen2.5-7B"),
        (("--sharding", "zero4"), "zero3"),
        (("--engine", "trl"), "transformers"),
        (("--tokens-per-second", "-1"), "above 0"),
        (("--gpu", "H200", "--usd-per-hour", "-1"), "0 or more"),
        (("--gpu", "H200", "--usd-per-hour", "nan"), "0 or more"),
        (("--average-tokens", "inf"), "--average-tokens inf: give a number above 0"),
        (("--budget", "inf"), "--budget inf: give a number above 0"),
        (("--model-config", "no.json", "--gpu", "H200"), "no.json cannot be read: No such file"),
        (("--average-tokens", "100000"), "sequence_len"),
        (("--budget", "0"), "--budget 0: give a number above 0"),
        (("--deadline", "-1"), "--deadline -1: give a number above 0"),
    ],
)
def test_what_is_not_known_is_an_error_that_names_the_mend(
    luthier: Luthier, arguments: tuple[str, ...], said: str
) -> None:
    outcome = luthier("plan", RECIPES / "config.yaml", *arguments)
    assert outcome.code == 2
    assert said in in_one_line(outcome.err)
    assert "Traceback" not in outcome.err


def test_a_budget_lists_what_it_buys_and_two_stages(planned: Any) -> None:
    file = RECIPES / "config.yaml"
    plan = planned(file, "--gpu", "H100", "--budget", 50, *AMOUNTS)
    options = plan["choice"]["options"]
    assert any(row["pareto"] for row in options)
    for row in options:
        assert not row["feasible"] or (row["usd"] <= 50 and row["fits"] != "no")
    stages = plan["choice"]["two_stage"]
    assert stages["pilot_usd"] + stages["full_usd"] <= 50


def test_planning_never_imports_torch() -> None:
    code = (
        "import sys; from luthier import cli; "
        "sys.argv = ['luthier', 'plan', 'studies/elle/methods.yaml', '--json']\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_power_answers_in_words_and_in_json(luthier: Luthier) -> None:
    said = luthier("power", "--n", 500, "--rate", 0.857, "--difference", 0.009)
    assert said.code == 0
    # √(0.857 × 0.143 ÷ 500)
    assert "1.57 points" in said.out
    as_json = json.loads(luthier("power", "--n", 500, "--rate", 0.857, "--json").out)
    assert as_json["standard_error"] == pytest.approx((0.857 * 0.143 / 500) ** 0.5)


def test_power_refuses_what_no_evaluation_can_be(luthier: Luthier) -> None:
    outcome = luthier("power", "--n", 500, "--rate", 1.2)
    assert outcome.code == 2
    assert "--rate" in outcome.err
