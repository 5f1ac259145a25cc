"""Options and advice with the real estimates, on the sources' own 72B recipes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from luthier.plan.amounts.tokens import TokenCount, count_tokens
from luthier.plan.choice.options import list_options
from luthier.plan.choice.row_estimate import build_estimator, make_it_fit
from luthier.plan.machine.devices import build_machine, find_device
from luthier.plan.memory.estimate import estimate_memory
from luthier.plan.model.model_config import read_facts
from luthier.plan.model.smaller_models import find_smaller
from luthier.plan.work.workload_build import build_workload
from luthier.recipe.load_study import load_study
from luthier.recipe.schema import Recipe

METHODS = Path(__file__).parents[2] / "studies" / "elle" / "methods.yaml"
ARMS = {arm.name: arm.recipe for arm in load_study(METHODS).arms}
FACTS = read_facts("Qwen/Qwen2.5-72B-Instruct")


def counts(recipe: Recipe) -> TokenCount:
    return count_tokens(recipe, 10_000, 1_500)


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_every_change_brings_the_memory_that_it_states_and_fits(arm: str) -> None:
    recipe = ARMS[arm]
    machine = build_machine(find_device("H200"), 1, "none", None)
    workload = build_workload(recipe, FACTS, counts(recipe))
    now = estimate_memory(workload, machine)
    changes = make_it_fit(workload, machine, counts(recipe))
    if now.fits == "yes":
        assert changes == ()
        return
    assert changes, "something makes every one of them fit"
    for change in changes:
        assert change.fits in ("yes", "tight")
        assert change.memory_gib_after.value < now.allocated_gib.value or "gpu" in change.key


def test_galore_on_one_card_needs_more_than_cheap_changes() -> None:
    recipe = ARMS["galore"]
    machine = build_machine(find_device("H200"), 1, "none", None)
    workload = build_workload(recipe, FACTS, counts(recipe))
    assert estimate_memory(workload, machine).fits == "no"
    cheap = {
        "micro_batch_size",
        "gradient_accumulation_steps",
        "gradient_checkpointing",
        "optimizer",
        "sequence_len",
    }
    for change in make_it_fit(workload, machine, counts(recipe)):
        assert not set(change.key.split(", ")) <= cheap


def test_a_lora_recipe_that_is_too_large_is_offered_a_4_bit_base() -> None:
    recipe = ARMS["lora"]
    machine = build_machine(find_device("A100-80GB"), 1, "none", None)
    workload = build_workload(recipe, FACTS, counts(recipe))
    changes = make_it_fit(workload, machine, counts(recipe))
    assert any("load_in_4bit: true" in change.text for change in changes)


def test_options_estimate_hours_dollars_and_memory_of_every_row() -> None:
    recipe = ARMS["lora"]
    devices = [find_device("H200"), find_device("A100-80GB")]
    estimator = build_estimator(FACTS, counts(recipe))
    options = list_options(recipe, devices, estimator, data="elle cic full", budget_usd=100)
    own = [row for row in options if row.title == "LoRA r32 (yours)" and row.feasible]
    assert own
    assert any(row.pareto for row in options)
    for row in options:
        assert row.estimate.usd is not None
        price = row.machine.usd_per_hour
        assert price is not None
        assert row.estimate.usd.value == pytest.approx(row.estimate.hours * price.value)
        assert row.feasible == (not row.obstacle)
    expected = {row.title: row.quality.value.value for row in options if row.quality is not None}
    assert expected["GaLore r128"] == 0.929
    assert "APOLLO r256" not in expected


def test_smaller_sisters_keep_the_tuning_of_the_name() -> None:
    names = [sister.name for sister in find_smaller(FACTS)]
    assert names == [
        "Qwen/Qwen2.5-32B-Instruct",
        "Qwen/Qwen2.5-14B-Instruct",
        "Qwen/Qwen2.5-7B-Instruct",
    ]
    assert find_smaller(read_facts("Qwen/Qwen2.5-0.5B")) == ()
    assert find_smaller(read_facts("gpt2")) == ()
    llama = [sister.name for sister in find_smaller(read_facts("meta-llama/Llama-3.2-3B"))]
    assert llama == ["meta-llama/Llama-3.2-1B"]


def test_none_of_it_imports_torch() -> None:
    import subprocess

    code = (
        "import sys, luthier.plan.choice.row_estimate, luthier.plan.choice.render_options, "
        "luthier.plan.outcome.own_results; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'datasets')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
