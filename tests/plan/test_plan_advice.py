"""The smallest changes that make a run fit, with a memory that can be summed by hand.

A weight of the model is a gibibyte here: 8 to hold in bfloat16, a quarter of that in 4 bit;
16 more for gradients and 32 for moments when all are trained (8 with 8-bit moments, 1 each with
an adapter); 4 for each example of a micro-batch, a quarter of that with checkpointing.
"""

from __future__ import annotations

from typing import Any

import pytest

from luthier.plan.choice.advice import Change, Reading, find_changes
from luthier.plan.choice.fit_steps import Around, Setting
from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Device, Machine
from luthier.plan.model.model_facts import ModelFacts
from luthier.recipe.load import parse_recipe

BASE: dict[str, Any] = {
    "base_model": "big",
    "datasets": [{"path": "rows.jsonl"}],
    "learning_rate": 1e-5,
    "micro_batch_size": 8,
    "gradient_accumulation_steps": 2,
}
LORA: dict[str, Any] = {
    "adapter": "lora",
    "lora_r": 8,
    "lora_alpha": 16,
    "lora_target_linear": True,
}


def facts(name: str, width: int) -> ModelFacts:
    return ModelFacts(
        name, "qwen2", 1, width, 1, 1, 1, 1, 1, 0, True, True, (), 0, "bfloat16", "made up"
    )


def device(name: str, gib: float, usd: float | None = 1.0) -> Device:
    given = Figure(1.0, "given")
    return Device(
        name,
        "nvidia",
        given,
        Figure(gib * 2**30 / 1e9, "given"),
        given,
        None if usd is None else Figure(usd, "assumed"),
        None,
    )


def measure(setting: Setting) -> Reading:
    recipe, machine = setting.recipe, setting.machine
    weights, trained = 8.0, 48.0
    if recipe.load_in_4bit:
        weights = 2.0
    if recipe.adapter is not None:
        trained = 2.0
    elif recipe.optimizer == "adamw_bnb_8bit":
        trained = 24.0
    if setting.facts.name == "small":
        weights, trained = weights / 4, trained / 4
    if machine.sharding == "fsdp":
        weights, trained = weights / machine.count, trained / machine.count
    if machine.sharding == "zero3-offload":
        weights, trained = 1.0, 1.0
    stored = 4.0 * recipe.micro_batch_size * recipe.sequence_len / 2048
    if recipe.gradient_checkpointing:
        stored /= 4
    peak = weights + trained + stored
    capacity = machine.device.capacity_gib.value
    fits = "yes" if peak <= 0.8 * capacity else "tight" if peak <= 0.88 * capacity else "no"
    return Reading(Figure(peak, "computed"), fits)


def changes_for(
    capacity_gib: float,
    keys: dict[str, Any] | None = None,
    *,
    devices: tuple[Device, ...] = (),
    models: tuple[ModelFacts, ...] = (),
    longest: float | None = None,
) -> tuple[Change, ...]:
    recipe = parse_recipe({**BASE, **(keys or {})}).recipe
    machine = Machine(device("X", capacity_gib), 1, "none", Figure(1.0, "assumed"))
    setting = Setting(recipe, facts("big", 4), machine)
    return find_changes(setting, Around(longest, devices, models), measure)


def test_a_run_that_fits_needs_no_change() -> None:
    assert changes_for(1000) == ()


def test_the_mildest_micro_batch_that_fits_is_taken_and_the_step_stays_the_same() -> None:
    # 8 + 48 + 32 = 88 on 90: 8 examples do not fit, 4 give 72 = 0.8 · 90.
    first = changes_for(90)[0]
    assert first.text == "micro_batch_size: 4, gradient_accumulation_steps: 4"
    assert first.memory_gib_after.value == 72
    assert first.fits == "yes"


def test_cheap_changes_come_alone_where_each_is_enough() -> None:
    # On 90: 72 with 4 examples, 64 with checkpointing, 64 with 8-bit moments.
    texts = [change.text for change in changes_for(90)]
    assert texts[:3] == [
        "micro_batch_size: 4, gradient_accumulation_steps: 4",
        "gradient_checkpointing: true",
        "optimizer: adamw_bnb_8bit",
    ]


def test_cheap_changes_are_combined_where_none_is_enough_alone() -> None:
    # On 46, tight up to 40.5: 8 + 24 + 8 with 8-bit moments and two examples or checkpointing.
    texts = [change.text for change in changes_for(46)]
    assert texts[0] == (
        "micro_batch_size: 2, gradient_accumulation_steps: 8, optimizer: adamw_bnb_8bit"
    )
    assert texts[1] == "gradient_checkpointing: true, optimizer: adamw_bnb_8bit"


def test_no_set_holds_a_smaller_one_that_fits() -> None:
    cheap = {
        "micro_batch_size",
        "gradient_accumulation_steps",
        "gradient_checkpointing",
        "optimizer",
    }
    sets = [frozenset(change.key.split(", ")) for change in changes_for(46)]
    sets = [keys for keys in sets if keys <= cheap]
    assert len(sets) == 2
    assert not any(one < other for one in sets for other in sets)


def test_an_adapter_and_a_4_bit_base_come_after_what_is_free() -> None:
    # On 14: full training cannot fit. LoRA: 8 + 2 + 1 with all cheap changes is 11.
    keys = [change.key for change in changes_for(14)]
    lora = next(index for index, key in enumerate(keys) if "adapter" in key)
    assert "lora_r" in keys[lora]
    assert any("load_in_4bit" in key for key in keys[lora + 1 :])


def test_lora_sets_the_layers_and_a_rate_that_can_be_run() -> None:
    change = next(c for c in changes_for(40) if "adapter: lora" in c.text)
    assert "lora_target_linear: true" in change.text
    assert "learning_rate: 0.0002" in change.text


def test_more_devices_keep_the_optimizer_step() -> None:
    # 8 + 48 + 32 on 64: two devices hold 28 + 32 = 60 (no), four 14 + 32 = 46 (yes).
    change = next(c for c in changes_for(64) if "gpus" in c.key)
    assert dict(change.settings)["gpus"] in ("2", "4")
    settings = dict(change.settings)
    if settings["gpus"] == "2":
        assert settings["gradient_accumulation_steps"] != "2"


def test_the_cheapest_device_that_is_big_enough_is_named() -> None:
    # 88 needs 110 for a yes, 100 for a tight fit.
    devices = (device("Y", 96, 1.5), device("Z", 120, 2.0), device("W", 200, 5.0))
    change = next(c for c in changes_for(14, devices=devices) if c.key == "gpu")
    assert change.text == "gpu: Z"
    assert "$2.00" in change.what_it_costs


def test_a_smaller_model_of_the_same_family_is_the_last_resort() -> None:
    changes = changes_for(40, models=(facts("small", 2),))
    assert "base_model: small" in changes[-1].text


def test_packed_rows_are_shortened_only_down_to_the_longest_example() -> None:
    keys = {**LORA, "sample_packing": True, "sequence_len": 2048, "micro_batch_size": 1}
    # 8 + 2 + 4 = 14 on 15.5: rows of 1024 give 12 = 0.77.
    first = changes_for(15.5, keys, longest=600)[0]
    assert first.text == "sequence_len: 1024, gradient_accumulation_steps: 4"
    kept = changes_for(15.5, keys, longest=1500)
    assert not any("sequence_len" in change.key for change in kept)


def test_a_tight_run_is_only_helped_by_what_makes_it_fit_well() -> None:
    # 88 on 105 is 0.838. All that is offered must reach 0.8.
    changes = changes_for(105)
    assert changes
    assert {change.fits for change in changes} == {"yes"}


def test_where_nothing_is_enough_the_nearest_change_says_that_it_does_not_fit() -> None:
    changes = changes_for(1.0)
    assert len(changes) == 1
    assert changes[0].fits == "no"


def test_the_rules_of_recipes_hold_for_every_change() -> None:
    # GaLore and an adapter exclude each other: with LoRA the optimizer has to change too.
    galore = {"optimizer": "galore_adamw", "galore_rank": 4}
    change = next(c for c in changes_for(40, galore) if "adapter" in c.key)
    assert "optimizer: adamw_torch_fused" in change.text


def test_what_is_offered_can_be_set_as_it_stands() -> None:
    # A projection's own keys mean nothing with an adapter: the rules refuse them, so they are
    # unset in the same breath.
    galore = {"optimizer": "galore_adamw", "galore_rank": 4, "galore_update_proj_gap": 50}
    change = next(c for c in changes_for(40, galore) if "adapter" in c.key)
    overrides = [f"{key}={value}" for key, value in change.settings]
    changed = parse_recipe({**BASE, **galore}, overrides).recipe
    assert changed.adapter is not None
    assert changed.galore_rank is None


@pytest.mark.parametrize("capacity", [14, 40, 46, 64, 90])
def test_every_change_really_has_the_memory_that_it_states(capacity: float) -> None:
    for change in changes_for(capacity):
        keys = {
            key: value
            for key, value in change.settings
            if key not in ("gpu", "gpus", "sharding", "base_model")
        }
        recipe = parse_recipe(BASE, [f"{key}={value}" for key, value in keys.items()]).recipe
        settings = dict(change.settings)
        machine = Machine(
            device("X", capacity),
            int(settings.get("gpus", 1)),
            settings.get("sharding", "none"),  # pyright: ignore[reportArgumentType]
            None,
        )
        again = measure(Setting(recipe, facts("big", 4), machine))
        assert again.allocated_gib.value == pytest.approx(change.memory_gib_after.value)
