"""Published measurements as recipes, machines and engines that the planner understands."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from luthier.plan.figure import Figure
from luthier.plan.machine.devices import find_device
from luthier.plan.machine.hardware import Machine, Sharding
from luthier.plan.model.model_config import read_facts
from luthier.plan.model.model_facts import ModelFacts
from luthier.plan.work.trainable import count_trainable
from luthier.plan.work.workload import Engine, Workload
from luthier.recipe.load import parse_recipe

MEASURED = Path("../shared/anchors/measured.csv")

Collection = Literal["fms-acceleration", "PEFT"]

# Longest examples of the PEFT comparison, four of which fall into one batch since examples of
# similar length are batched together.
PEFT_LONGEST, PEFT_BATCH, PEFT_MEAN = 768, 4, 210
_QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")

# Settings of the PEFT comparison's experiments that a recipe can state.
_PEFT_KEYS: Mapping[str, Mapping[str, Any]] = {
    "full-finetuning:lr_0.00001": {"optimizer": "adamw_torch"},
    "lora:rank32": {"lora_r": 32},
    "lora:rank64": {"lora_r": 64},
    "lora:rank64-rslora": {"lora_r": 64, "peft_use_rslora": True},
    "lora:rank32-dora": {"lora_r": 32, "peft_use_dora": True},
    "lora:rank10-target-mlp": {"lora_r": 10, "lora_target_modules": _MLP},
    # LoRA by another name as far as memory goes: A is frozen, starts otherwise, or is in blocks.
    "lora:rank32-lorafa": {"lora_r": 32},
    "lora:rank32-mica": {"lora_r": 32},
    "lora:rank14-target-mlp-bdlora": {"lora_r": 14, "lora_target_modules": _MLP},
}


class Row(NamedTuple):
    """One measurement.

    Attributes:
        collection: who measured it.
        table: the file of the collection that it is from.
        model, method, batch_size: as published.
        devices: how many.
        workload, machine: what the planner is asked.
        allocated_gib: PyTorch's peak; None where only reserved memory was measured.
        reserved_gib: the peak that PyTorch reserved; None where not measured.
        device_gib: what nvidia-smi showed; None where not measured.
        tokens_per_second: on one device.
    """

    collection: Collection
    table: str
    model: str
    method: str
    batch_size: int
    devices: int
    workload: Workload
    machine: Machine
    allocated_gib: float | None
    reserved_gib: float | None
    device_gib: float | None
    tokens_per_second: float


def read_rows(path: Path = MEASURED) -> list[Row]:
    """Every row that a recipe can state; techniques that the planner does not know are left out.

    Raises:
        FileNotFoundError: the measurements are not there.
    """
    with path.open(encoding="utf-8") as file:
        rows = [_read_row(line) for line in csv.DictReader(file)]
    return [row for row in rows if row is not None]


def _read_row(line: Mapping[str, str]) -> Row | None:
    return _read_peft(line) if "huggingface/peft" in line["source"] else _read_fms(line)


def _read_fms(line: Mapping[str, str]) -> Row:
    table = _find(r"refs/(\S+?)\.csv", line["source"])
    method, devices = line["method"], int(line["n_gpus"])
    framework = _find(r"\[(.+?)\]", method)
    batch = int(line["batch_size"].partition("/")[0])
    values: dict[str, Any] = {
        "base_model": line["model"],
        "datasets": [{"path": "rows.jsonl", "type": "alpaca"}],
        "learning_rate": 2e-5,
        "optimizer": "adamw_torch",
        "bf16": True,
        "sequence_len": 4096,
        "sample_packing": True,
        "micro_batch_size": batch,
        "gradient_checkpointing": True,
        "flash_attention": True,
        "max_steps": 100,
    }
    if not method.startswith("full"):
        attention = ("c_attn", "c_proj") if "santacoder" in line["model"] else _QKVO
        values |= {
            "adapter": "qlora" if "QLoRA" in method else "lora",
            "lora_r": 16,
            "lora_alpha": 16,
            "lora_dropout": 0.1,
            "lora_target_modules": list(attention),
        }
    if "QLoRA" in method:
        values |= {"load_in_4bit": True}
    # The tables of liger kernels were made with accelerate's bfloat16, whose FSDP trains float32.
    sharding: Sharding = "none"
    if devices > 1:
        sharding = "fsdp" if table.endswith("liger") else "fsdp-bf16"
    tokens = batch * 4096
    return Row(
        "fms-acceleration",
        table,
        line["model"],
        method,
        batch,
        devices,
        build_row_workload(values, _choose_engine(framework), tokens, tokens, tokens_each=4096),
        Machine(find_device("A100-80GB"), devices, sharding, None),
        float(line["peak_mem_gib"]),
        None,
        float(_find(r"nvidia-smi ([\d.]+)", line["source"])),
        float(line["tokens_per_s"]),
    )


def _choose_engine(framework: str) -> Engine:
    if "liger" in framework:
        return "liger"
    if "foak" in framework:
        return "fused-loss"
    return "accelerated-peft" if framework.startswith("accelerated") else "transformers"


def _read_peft(line: Mapping[str, str]) -> Row | None:
    keys = _PEFT_KEYS.get(line["method"])
    if keys is None:
        return None
    values: dict[str, Any] = {
        "base_model": line["model"],
        "datasets": [{"path": "rows.jsonl", "type": "alpaca"}],
        "learning_rate": 1e-4,
        "optimizer": "adamw_torch",
        "bf16": True,
        "sequence_len": PEFT_LONGEST,
        "micro_batch_size": PEFT_BATCH,
        "group_by_length": True,
        "max_steps": 5000,
    }
    if "lora_r" in keys:
        values |= {"adapter": "lora", "lora_alpha": 64}
        values |= {"lora_target_modules": ["q_proj", "v_proj"]}
    values |= keys
    longest, mean = PEFT_BATCH * PEFT_LONGEST, PEFT_BATCH * PEFT_MEAN
    return Row(
        "PEFT",
        "MetaMathQA",
        line["model"],
        line["method"],
        PEFT_BATCH,
        1,
        build_row_workload(values, "transformers", longest, mean, tokens_each=PEFT_MEAN),
        Machine(find_device("L40S"), 1, "none", None),
        None,
        float(line["peak_mem_gib"]),
        None,
        float(line["tokens_per_s"]),
    )


def build_row_workload(
    values: Mapping[str, Any],
    engine: Engine,
    longest: float,
    mean: float,
    *,
    tokens_each: float,
    facts: ModelFacts | None = None,
) -> Workload:
    """The workload of a measurement whose batches are known, `facts` of a model without a name."""
    recipe = parse_recipe(values).recipe
    facts = facts or read_facts(recipe.base_model)
    steps = recipe.max_steps or 1
    given = "the measurement's own batches"
    return Workload(
        recipe=recipe,
        facts=facts,
        engine=engine,
        trainable=count_trainable(recipe, facts),
        longest_tokens=Figure(longest, "given", given),
        mean_tokens=Figure(mean, "given", given),
        supervised_share=Figure(1.0, "assumed", "not published"),
        examples=Figure(steps * mean / tokens_each, "computed"),
        tokens=Figure(steps * mean, "computed"),
        optimizer_steps=Figure(steps, "given"),
        example_tokens=Figure(tokens_each, "given", given),
    )


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"{pattern} is not in {text!r}")
    return found[1]
