"""Workloads and machines that can be checked by hand."""

from __future__ import annotations

from typing import Any

from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Device, DeviceKind, Machine, Sharding
from luthier.plan.memory.estimate import Memory, estimate_memory
from luthier.plan.model.model_facts import ModelFacts
from luthier.plan.work.trainable import count_trainable
from luthier.plan.work.workload import Engine, Workload
from luthier.recipe.load import parse_recipe

QKVO = ["q_proj", "k_proj", "v_proj", "o_proj"]
LORA: dict[str, Any] = {
    "adapter": "lora",
    "lora_r": 16,
    "lora_alpha": 16,
    "lora_target_modules": QKVO,
}
QLORA: dict[str, Any] = {**LORA, "adapter": "qlora", "load_in_4bit": True}


def make_workload(
    facts: ModelFacts, tokens: int, engine: Engine = "luthier", **keys: Any
) -> Workload:
    """A recipe on a model with micro-batches of `tokens`, all of them labelled."""
    values: dict[str, Any] = {
        "base_model": facts.name,
        "datasets": [{"path": "rows.jsonl", "type": "alpaca"}],
        "learning_rate": 1e-4,
        "bf16": True,
        "gradient_checkpointing": True,
        "flash_attention": True,
        **keys,
    }
    recipe = parse_recipe(values).recipe
    one = Figure(1.0, "given")
    size = Figure(tokens, "given")
    return Workload(
        recipe, facts, engine, count_trainable(recipe, facts), size, size, one, one, size, one
    )


def make_machine(
    capacity_gib: float = 80.0,
    count: int = 1,
    sharding: Sharding = "none",
    kind: DeviceKind = "nvidia",
) -> Machine:
    given = Figure(1.0, "given")
    memory = Figure(capacity_gib * 2**30 / 1e9, "given")
    return Machine(Device("card", kind, given, memory, given, None, None), count, sharding, None)


def estimate(
    facts: ModelFacts, tokens: int, engine: Engine = "luthier", machine: Machine | None = None,
    **keys: Any,
) -> Memory:  # fmt: skip
    """Memory of one such run."""
    return estimate_memory(make_workload(facts, tokens, engine, **keys), machine or make_machine())
