"""How long a run takes: by a given rate, a published one, or the model of a step."""

from __future__ import annotations

import importlib
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.errors import PlanError
from luthier.plan.amounts.tokens import TokenCount
from luthier.plan.figure import Figure
from luthier.plan.machine.devices import build_machine, find_device
from luthier.plan.machine.hardware import Machine, Sharding
from luthier.plan.model.model_config import read_facts
from luthier.plan.model.model_facts import ModelFacts
from luthier.plan.time.estimate import estimate_time
from luthier.plan.time.evaluation_time import EvaluationLoad, TaskLoad, evaluation_seconds
from luthier.plan.time.optimizer_work import count_optimizer_work
from luthier.plan.time.step_time import count_step_tokens, estimate_step
from luthier.plan.time.step_work import count_step_work
from luthier.plan.time.throughput import look_up_throughput
from luthier.plan.time.utilisation import choose_precision
from luthier.plan.work.workload import Engine, Workload
from luthier.plan.work.workload_build import build_workload
from luthier.recipe.load import parse_recipe

ROOT = Path(__file__).parents[2]
LORA: dict[str, Any] = {
    "adapter": "lora",
    "lora_r": 16,
    "lora_alpha": 16,
    "lora_target_linear": True,
}

PAIRS: list[dict[str, str]] = [{"path": "pairs.jsonl", "type": "preference"}]


@pytest.fixture(autouse=True)
def _no_calibrations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUTHIER_CALIBRATIONS", str(tmp_path / "calibrations.jsonl"))


def build(
    model: str = "Qwen/Qwen2.5-7B",
    tokens: float = 512,
    examples: int = 10_000,
    *,
    engine: Engine = "luthier",
    **keys: Any,
) -> Workload:
    values = {
        "base_model": model,
        "learning_rate": 1e-4,
        "datasets": [{"path": "rows.jsonl"}],
        "sequence_len": 8192,
        **keys,
    }
    counts = TokenCount(
        Figure(examples, "given"),
        Figure(tokens, "given"),
        Figure(tokens, "given"),
        Figure(1.0, "given"),
    )
    return build_workload(parse_recipe(values).recipe, facts_of(model), counts, engine)


def facts_of(model: str) -> ModelFacts:
    return read_facts(model)


def machine(name: str = "A100-80GB", count: int = 1, sharding: Sharding = "none") -> Machine:
    return build_machine(find_device(name), count, sharding, None)


def seconds(workload: Workload, on: Machine | None = None) -> float:
    return estimate_step(workload, on or machine()).seconds.value


def test_a_given_rate_gives_samples_times_tokens_times_epochs_over_it() -> None:
    workload = build(num_epochs=3, **LORA)
    time = estimate_time(workload, machine(), None, Figure(3000, "given", "--tokens-per-second"))
    assert time.train_hours.value == pytest.approx(10_000 * 512 * 3 / 3000 / 3600)
    assert time.train_hours.basis == "computed"
    assert time.tokens_per_second.basis == "given"


def test_a_published_rate_is_taken_where_model_device_and_method_match() -> None:
    time = estimate_time(build(**LORA), machine("GB10"))
    assert time.tokens_per_second == look_up_throughput("GB10", "Qwen2.5-7B", "lora", 512)
    assert time.tokens_per_second.basis == "measured"
    assert "document 004" in time.tokens_per_second.source
    between = estimate_time(build(tokens=700, **LORA), machine("GB10")).tokens_per_second
    assert between.basis == "computed"
    assert 2600 < between.value < 3000
    other = estimate_time(build(peft_use_dora=True, **LORA), machine("GB10"))
    assert other.tokens_per_second.basis == "assumed"


def test_a_length_that_is_not_published_is_asked_for() -> None:
    with pytest.raises(PlanError, match=r"published for 512, 1024, 2048, 4096.*--tokens-per-sec"):
        look_up_throughput("GB10", "Qwen2.5-7B", "full", 8192)
    with pytest.raises(PlanError, match=r"nearest is GB10 Qwen2.5-7B"):
        look_up_throughput("GB10", "Qwen2.5-14B", "lora", 512)


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_products_of_a_full_step_are_those_that_torch_counts(family: str, tmp_path: Path) -> None:
    sizes = {
        "qwen2": {
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 300,
        },
        "gpt2": {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 300, "n_positions": 64},
    }
    config = AutoConfig.for_model(family, **sizes[family], attn_implementation="eager")
    config.save_pretrained(tmp_path)
    model: Any = AutoModelForCausalLM.from_config(config)
    ids = torch.randint(0, 300, (1, 48))
    counter = FlopCounterMode(display=False)
    with counter:
        model(input_ids=ids, labels=ids).loss.backward()
    by_kind = counter.get_flop_counts()["Global"]
    attention = sum(n for kind, n in by_kind.items() if "bmm" in str(kind))
    workload = build(str(tmp_path), 48, engine="transformers")
    work = count_step_work(workload, "float32", 1)
    assert work.product_flops == pytest.approx(counter.get_total_flops() - attention, rel=0.03)
    # Eager attention computes the whole square, forward once and backward twice; the kernel's
    # causal half, and the forward pass once more within the backward one.
    assert work.attention_flops == pytest.approx(attention / 3 * 3.5 / 2, rel=0.01)


def test_a_frozen_base_saves_the_products_of_its_weights_gradients() -> None:
    full = count_step_work(build(), "bfloat16", 1).product_flops
    lora = count_step_work(build(**LORA), "bfloat16", 1).product_flops
    again = count_step_work(build(gradient_checkpointing=True, **LORA), "bfloat16", 1)
    assert lora / full == pytest.approx(2 / 3, abs=0.02)
    assert again.product_flops / lora == pytest.approx(3 / 2, abs=0.04)


def test_a_mixture_computes_with_its_chosen_experts_alone() -> None:
    mixture = build("mistralai/Mixtral-8x7B-Instruct-v0.1", engine="transformers")
    dense = build("mistralai/Mistral-7B-v0.1", engine="transformers")
    ratio = (
        count_step_work(mixture, "bfloat16", 1).product_flops
        / count_step_work(dense, "bfloat16", 1).product_flops
    )
    # Two feed-forward blocks of three beside one attention: 12.9 against 7.2 billion weights.
    assert ratio == pytest.approx(12.9 / 7.2, rel=0.03)


def test_reading_the_weights_weighs_less_in_a_larger_micro_batch() -> None:
    rates: list[float] = []
    for size in (1, 16):
        workload = build(tokens=100, micro_batch_size=size, **LORA)
        rates.append(count_step_tokens(workload, machine()) / seconds(workload))
    assert rates[1] > 1.5 * rates[0]


def test_a_tiny_model_waits_for_its_kernels() -> None:
    workload = build("embedded", 200, micro_batch_size=4, **LORA)
    step = estimate_step(workload, machine())
    assert step.parts["kernels"] > 0.8 * step.seconds.value


def test_what_costs_more_takes_longer() -> None:
    base = seconds(build(tokens=2048, **LORA))
    assert seconds(build(tokens=2048, peft_use_dora=True, **LORA)) > base
    packed: dict[str, Any] = {**LORA, "adapter": "qlora", "load_in_4bit": True}
    assert seconds(build(tokens=2048, **packed)) > base
    galore: dict[str, Any] = {"optimizer": "galore_adamw", "galore_rank": 128}
    rare: dict[str, Any] = {**galore, "galore_update_proj_gap": 1000}
    assert (
        seconds(build(**galore))
        > seconds(build(**rare))
        > seconds(build(optimizer="adamw_torch_fused"))
    )


def test_a_stored_reference_spares_each_step_a_forward_pass() -> None:
    stored = build(datasets=PAIRS, rl="dpo", **LORA)
    live = build(datasets=PAIRS, rl="dpo", precompute_ref_log_probs=False, **LORA)
    ratio = (
        count_step_work(live, "bfloat16", 1).product_flops
        / count_step_work(stored, "bfloat16", 1).product_flops
    )
    assert ratio == pytest.approx(1.5, abs=0.02)


def test_fused_adamw_moves_seven_numbers_and_clipping_three() -> None:
    workload = build(optimizer="adamw_torch_fused")
    work = count_optimizer_work(workload, 1)
    assert work.bytes == workload.facts.parameters * 10 * 4
    assert count_optimizer_work(workload, 4).bytes == work.bytes / 4


def test_several_devices_share_the_work_and_pay_for_talking() -> None:
    workload = build(micro_batch_size=4, **LORA)
    one, four = machine(), machine(count=4, sharding="ddp")
    rate_one = count_step_tokens(workload, one) / seconds(workload, one)
    rate_four = count_step_tokens(workload, four) / seconds(workload, four)
    assert 3.5 * rate_one < rate_four <= 4 * rate_one
    sharded = machine(count=4, sharding="fsdp")
    assert seconds(workload, sharded) > seconds(workload, four)
    host = machine(count=4, sharding="zero3-offload")
    assert seconds(build(micro_batch_size=4), host) > seconds(build(micro_batch_size=4), sharded)


def test_a_processor_computes_in_float32_unless_told() -> None:
    recipe = build("embedded").recipe
    assert choose_precision(recipe, find_device("cpu")) == "float32"
    assert choose_precision(recipe, find_device("A100-80GB")) == "bfloat16"
    assert choose_precision(recipe, find_device("T4")) == "float32"


def test_other_loops_compute_in_float16_where_there_is_no_bfloat16() -> None:
    recipe = build("embedded").recipe
    assert choose_precision(recipe, find_device("T4"), "transformers") == "bfloat16"


def test_scores_that_are_formed_take_time_with_the_square_of_the_row() -> None:
    def slower(tokens: int) -> float:
        sdpa, eager = (
            seconds(build(tokens=tokens, attn_implementation=name)) for name in ("sdpa", "eager")
        )
        return eager / sdpa

    assert 1.05 < slower(1024) < slower(4096)


def test_an_answer_is_written_as_fast_as_the_weights_are_read() -> None:
    workload = build("Qwen/Qwen2.5-32B", **LORA)
    task = TaskLoad(
        "elle", "generation", Figure(1, "given"), Figure(100, "given"), Figure(1000, "given"), 1
    )
    found = evaluation_seconds(workload, find_device("A100-80GB"), EvaluationLoad((task,)))
    # 65.5 GB at 85% of 2,039 GB/s for each of 1,000 tokens.
    assert found.value == pytest.approx(1000 * 65.53e9 / (0.85 * 2039e9), rel=0.05)
    likelihood = task._replace(kind="likelihood")
    load = EvaluationLoad((likelihood,))
    assert evaluation_seconds(workload, find_device("A100-80GB"), load).value < found.value / 20


def test_evaluation_and_the_rest_are_part_of_all_hours() -> None:
    task = TaskLoad(
        "elle", "generation", Figure(500, "given"), Figure(200, "given"), Figure(200, "given")
    )
    time = estimate_time(build(**LORA), machine(), EvaluationLoad((task,)))
    assert time.evaluation_hours.value > 0
    assert time.other_hours.value > 0
    parts = time.train_hours.value + time.evaluation_hours.value + time.other_hours.value
    assert time.total_hours.value == pytest.approx(parts)


@pytest.mark.skipif(
    not (ROOT / "../shared/anchors/measured.csv").exists(), reason="../shared is absent"
)
def test_every_group_left_out_of_the_fit_is_predicted_within_a_fifth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.chdir(ROOT)
    published: Any = importlib.import_module("planner_rows")
    timing: Any = importlib.import_module("planner_time")
    known = (r for r in published.read_rows() if not r.method.endswith(timing.ONLY_MEMORY))
    rows = [timing.time_row(row) for row in known]
    assert statistics.median(abs(row.error()) for row in rows) < 0.10
    for group in timing.leave_groups_out(rows):
        assert group.median < 0.20, group


def test_short_steps_that_nothing_was_fitted_to_are_predicted_within_a_quarter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    short: Any = importlib.import_module("planner_short_steps")
    errors = [
        abs(step.error) for step in short.list_short_steps() if step.tokens != short.FITTED_LENGTH
    ]
    assert max(errors) < 0.25
    assert statistics.median(errors) < 0.15
