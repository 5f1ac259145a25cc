"""How devices share a model, from the flag or from DeepSpeed's settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import PlanError
from luthier.plan.machine.sharding import choose_sharding
from luthier.recipe.load import parse_recipe
from luthier.recipe.schema import Recipe

ROWS = [{"path": "rows.jsonl"}]


def recipe(**keys: Any) -> Recipe:
    return parse_recipe(
        {"base_model": "gpt2", "learning_rate": 1e-4, "datasets": ROWS, **keys}
    ).recipe


def test_without_a_word_one_device_shares_nothing_and_several_hold_copies() -> None:
    assert choose_sharding(recipe(), None, 1) == "none"
    assert choose_sharding(recipe(), None, 4) == "ddp"


@pytest.mark.parametrize(
    ("zero", "count", "expected"),
    [
        ({"stage": 2}, 2, "zero2"),
        ({"stage": 3}, 8, "zero3"),
        ({"stage": 3}, 1, "none"),
        ({"stage": 1}, 2, "ddp"),
        ({"stage": 3, "offload_param": {"device": "cpu"}}, 1, "zero3-offload"),
        ({"stage": 3, "offload_optimizer": {"device": "none"}}, 2, "zero3"),
    ],
)
def test_deepspeed_settings_say_how(zero: dict[str, Any], count: int, expected: str) -> None:
    assert choose_sharding(recipe(deepspeed={"zero_optimization": zero}), None, count) == expected


def test_deepspeed_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "zero3.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    assert choose_sharding(recipe(deepspeed=str(file)), None, 2) == "zero3"


def test_the_flag_wins() -> None:
    asked = choose_sharding(recipe(deepspeed={"zero_optimization": {"stage": 2}}), "fsdp", 2)
    assert asked == "fsdp"


@pytest.mark.parametrize(
    ("deepspeed", "said"),
    [
        ("missing.json", "--sharding"),
        ({"zero_optimization": {"stage": 4}}, "0, 1, 2 or 3"),
    ],
)
def test_settings_that_cannot_be_read_are_refused(deepspeed: Any, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        choose_sharding(recipe(deepspeed=deepspeed), None, 2)
