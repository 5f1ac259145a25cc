"""Known results: the table against its sources, and that nothing is carried further."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml

from luthier.plan.choice.methods import METHODS, Family, Method, list_candidates, name_method
from luthier.plan.outcome.own_results import read_own_results
from luthier.plan.outcome.published import PUBLISHED, find_study, look_up
from luthier.plan.outcome.quality import expect_quality
from luthier.recipe.load import parse_recipe

SHARED = Path(__file__).parents[3] / "shared"
BY_TITLE = {study.title: study for study in PUBLISHED}
LLAMA, QWEN, ELLE_MODEL = (BY_TITLE[t].base_model for t in BY_TITLE)
LORA = {"adapter": "lora", "lora_r": 32, "lora_alpha": 64, "lora_target_linear": True}


def recipe(**keys: object):
    base = {"base_model": "m", "datasets": [{"path": "rows.jsonl"}], "learning_rate": 1e-4}
    return parse_recipe({**base, **keys}).recipe


def write_study(root: Path, values: dict[str, list[float]]) -> None:
    """`runs/mine` with the arms `lora` and `full` on rows of ag_news, scored on accuracy."""
    folder = root / "mine"
    folder.mkdir(parents=True)
    study = {
        "study": "mine",
        "data": "data/ag_news/train.csv",
        "base": {"base_model": "tiny", "learning_rate": 1e-4},
        "arms": {"lora": LORA, "full": {}},
        "seeds": [1, 2],
        "tasks": ["classification"],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    lines = ["study,arm,seed,task,metric,value,n", "mine,base,,classification,accuracy,0.1,50"]
    for arm, scores in values.items():
        for seed, value in enumerate(scores, start=1):
            lines.append(f"mine,{arm},{seed},training,seconds,3,")
            lines.append(f"mine,{arm},{seed},classification,accuracy,{value},50")
            lines.append(f"mine,{arm},{seed},classification,macro_f1,0.9,50")
    (folder / "results.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("keys", "title"),
    [
        ({}, "full"),
        (LORA, "LoRA r32"),
        ({**LORA, "peft_use_rslora": True}, "rsLoRA r32"),
        ({**LORA, "peft_use_dora": True}, "DoRA r32"),
        ({**LORA, "adapter": "qlora", "load_in_4bit": True}, "QLoRA r32"),
        ({**LORA, "load_in_8bit": True}, "8-bit LoRA r32"),
        ({**LORA, "relora": True, "relora_iterations": 3}, "ReLoRA r32"),
        ({**LORA, "neftune_noise_alpha": 5}, "other LoRA r32"),
        ({"optimizer": "galore_adamw_8bit", "galore_rank": 128}, "GaLore r128"),
        ({"optimizer": "apollo_mini_adamw"}, "APOLLO r1"),
    ],
)
def test_a_recipe_has_the_name_of_its_method(keys: dict[str, object], title: str) -> None:
    assert name_method(recipe(**keys)).title == title


def test_every_method_of_the_table_makes_a_valid_recipe_of_its_own_name() -> None:
    candidates = list_candidates(recipe())
    titles = [candidate.title for candidate in candidates]
    assert titles[0] == "full (yours)"
    assert len(titles) == len(set(titles)) == len(METHODS)
    for name, candidate in zip([n for n in METHODS if n != "full"], candidates[1:], strict=True):
        assert candidate.method.family == name


def test_a_method_starts_without_what_made_the_old_one() -> None:
    dora = recipe(**LORA, peft_use_dora=True, neftune_noise_alpha=5, loraplus_lr_ratio=16)
    plain = next(c for c in list_candidates(dora) if c.title == "LoRA r32").recipe
    assert not plain.peft_use_dora
    assert plain.neftune_noise_alpha is None
    assert plain.loraplus_lr_ratio is None


def test_the_chosen_layers_stay_and_preference_training_keeps_its_rate() -> None:
    own = recipe(**{**LORA, "lora_target_linear": False}, lora_target_modules=["q_proj"])
    dora = next(c for c in list_candidates(own) if c.title == "DoRA r32").recipe
    assert dora.lora_target_modules == ("q_proj",)
    assert not dora.lora_target_linear
    orpo = recipe(
        **LORA, rl="orpo", datasets=[{"path": "p.jsonl", "type": "preference"}], learning_rate=5e-6
    )
    assert {c.recipe.learning_rate for c in list_candidates(orpo)} == {5e-6}


def test_metamathqa_values_are_those_of_the_measured_rows() -> None:
    source = SHARED / "anchors" / "measured.csv"
    if not source.exists():
        pytest.skip("../shared/anchors/measured.csv is not here")
    rows = {
        row["method"]: float(match[1])
        for row in csv.DictReader(source.open(encoding="utf-8"))
        if (match := re.search(r"test_acc ([0-9.]+)", row["source"]))
    }
    values = BY_TITLE["MetaMathQA"].values
    named: dict[tuple[Family, int | None], str] = {
        ("LoRA", 32): "lora:rank32",
        ("LoRA", 64): "lora:rank64",
        ("rsLoRA", 64): "lora:rank64-rslora",
        ("DoRA", 32): "lora:rank32-dora",
    }
    for key, method in named.items():
        assert values[key] == pytest.approx(rows[method], abs=5e-4), method


def test_ag_news_and_elle_values_stand_in_the_documents() -> None:
    documents = sorted((SHARED / "mission").glob("00*.txt"))
    if not documents:
        pytest.skip("../shared/mission is not here")
    texts = {path.name[:3]: path.read_text(encoding="utf-8") for path in documents}
    for name, share in (("QLoRA", "95.14%"), ("LoRA", "95.45%"), ("Full FT", "95.18%")):
        assert f"- {name}: {share} accuracy" in texts["004"]
    ag_news = BY_TITLE["AG News"].values
    assert ag_news == {("LoRA", None): 0.9545, ("full", None): 0.9518, ("QLoRA", None): 0.9514}
    rows = {
        line.split("|")[1].strip(" *"): line.split("|")[5].strip(" *%")
        for line in texts["000"].splitlines()
        if line.count("|") == 7 and "%" in line
    }
    named = {
        "Standard LoRA (r=32)": ("LoRA", 32),
        "Standard QLoRA (r=64)": ("QLoRA", 64),
        "DoRA + NEFTune": ("DoRA stack", 128),
        "GaLore": ("GaLore", 128),
        "ReLoRA (3×64)": ("ReLoRA", 64),
        "Full Fine-Tune (8×H200)": ("full", None),
    }
    elle = BY_TITLE["Elle briefings"].values
    assert {key: float(rows[name]) / 100 for name, key in named.items()} == pytest.approx(
        dict(elle)
    )


def test_a_measured_result_is_measured_and_an_expected_one_assumed() -> None:
    lora = Method("LoRA", 32)
    math = expect_quality(lora, LLAMA, "meta-math/metamathqa")
    elle = expect_quality(lora, ELLE_MODEL, "elle cic full")
    assert math is not None
    assert elle is not None
    assert (math.value.value, math.value.basis) == (0.478, "measured")
    assert (elle.value.value, elle.value.basis) == (0.846, "assumed")


def test_nothing_is_carried_to_another_model_data_rank_or_objective() -> None:
    data = "meta-math/metamathqa"
    assert expect_quality(Method("LoRA", 32), "Qwen/Qwen2.5-7B", data) is None
    assert expect_quality(Method("LoRA", 32), LLAMA, "gsm8k/train.jsonl") is None
    assert expect_quality(Method("LoRA", 8), LLAMA, data) is None
    assert expect_quality(Method("LoRA", 32, "dpo"), LLAMA, data) is None
    assert expect_quality(Method("LoRA", 32), LLAMA, "") is None


def test_a_mirror_is_the_same_model_and_a_chat_tuned_sibling_an_assumption() -> None:
    mirror = expect_quality(Method("full"), "unsloth/Qwen2.5-7B-Instruct", "ag_news/train.csv")
    sibling = expect_quality(Method("full"), "Qwen/Qwen2.5-7B", "ag_news/train.csv")
    assert mirror is not None
    assert sibling is not None
    assert mirror.value.basis == "measured"
    assert sibling.value.basis == "assumed"
    assert "measured on Qwen2.5-7B-Instruct" in sibling.value.source


def test_a_result_whose_rank_is_not_told_is_an_assumption_for_any_rank() -> None:
    quality = expect_quality(Method("LoRA", 16), QWEN, "ag_news/train.csv")
    assert quality is not None
    assert quality.value.basis == "assumed"
    assert "rank" in quality.value.source


def test_spread_is_that_of_re_runs_or_what_the_test_set_blurs() -> None:
    assert BY_TITLE["MetaMathQA"].spread == 0.028
    # The three accuracies have the mean 0.95277: 1.96 · √(2 · 0.95277 · 0.04723 / 7600)
    assert BY_TITLE["AG News"].spread == pytest.approx(0.00674, abs=1e-4)
    # LoRA against full on AG News, 0.27 points, lies within it: they are not ranked.
    values = BY_TITLE["AG News"].values
    assert values["LoRA", None] - values["full", None] < BY_TITLE["AG News"].spread


def test_studies_are_found_by_data_and_model_together() -> None:
    assert find_study("NousResearch/Llama-3.2-3B", "meta-math/MetaMathQA") is not None
    assert find_study("meta-llama/Llama-3.2-1B", "meta-math/MetaMathQA") is None
    study = BY_TITLE["MetaMathQA"]
    assert look_up(study, Method("full")) == (0.472, True)
    assert look_up(study, Method("GaLore", 128)) is None


def test_the_users_own_runs_come_before_published_ones(tmp_path: Path) -> None:
    write_study(tmp_path, {"lora": [0.90, 0.92], "full": [0.93, 0.94]})
    own = read_own_results(tmp_path)
    assert [(r.arm, r.method.title, r.values, r.examples) for r in own] == [
        ("lora", "LoRA r32", (0.90, 0.92), 50),
        ("full", "full", (0.93, 0.94), 50),
    ]
    quality = expect_quality(Method("LoRA", 32), "tiny", "ag_news/train.csv", own)
    assert quality is not None
    assert quality.value.value == pytest.approx(0.91)
    assert quality.value.basis == "measured"
    # Two runs of the LoRA arm differ by 0.02, of the full arm by 0.01: the larger counts.
    assert quality.spread == pytest.approx(0.02)
    assert expect_quality(Method("LoRA", 32), "other", "ag_news/train.csv", own) is None
    assert expect_quality(Method("LoRA", 32), "tiny", "other/train.csv", own) is None


def test_a_study_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    write_study(tmp_path, {"lora": [0.90], "full": [0.93]})
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "results.csv").write_text("no,header\n", encoding="utf-8")
    (broken / "study.yaml").write_text("arms: [", encoding="utf-8")
    assert {result.study for result in read_own_results(tmp_path)} == {"mine"}
    assert read_own_results(tmp_path / "nowhere") == ()
