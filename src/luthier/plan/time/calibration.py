"""What `luthier calibrate` measured on this machine, found again for a plan; without torch.

A line of the store is one measurement: which machine, which model, which method, how many tokens
a micro-batch had, and then seconds of a step and peak memory. A plan takes the newest line of the
same machine, model and method. Where its micro-batches are others than the measured ones, the
model of a step (step_time.py) says how the measured seconds change with them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from luthier.errors import PlanError
from luthier.files import find_user_file, read_json_lines
from luthier.plan.figure import Figure
from luthier.plan.machine.hardware import Device, Machine
from luthier.plan.model.model_facts import ModelFacts
from luthier.plan.time.optimizer_work import projections_per_step
from luthier.plan.time.step_time import count_step_tokens, estimate_step
from luthier.plan.work.workload import Workload
from luthier.recipe.schema import Recipe

STORE_VARIABLE = "LUTHIER_CALIBRATIONS"
VERSION = 1
# Micro-batches that differ less than this are the same load: other rows of the same data.
SAME_LOAD = 0.05

# The keys that change what a step computes or holds. Amounts are scaled, others change nothing.
METHOD_KEYS = (
    "adapter", "lora_r", "lora_target_modules", "lora_target_linear", "lora_dropout",
    "peft_use_dora", "load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type",
    "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype", "rl", "precompute_ref_log_probs",
    "optimizer", "galore_rank", "galore_proj_type", "galore_target_modules", "galore_svd",
    "apollo_rank", "apollo_proj_type", "apollo_target_modules", "apollo_proj",
    "apollo_scale_type", "fira_rank", "fira_proj_type", "fira_target_modules", "fira_svd",
    "bf16", "tf32", "gradient_checkpointing", "flash_attention", "sdp_attention",
    "attn_implementation", "sample_packing", "neftune_noise_alpha",
)  # fmt: skip
_MODEL_KEYS = (
    "family", "layers", "width", "ffn_width", "heads", "kv_heads", "vocabulary", "parameters",
)  # fmt: skip


class Load(NamedTuple):
    """What a measured step held.

    Attributes:
        mean_tokens: of a micro-batch on one device.
        longest_tokens: of the largest micro-batch.
        example_tokens: of an average example.
        supervised_share: of the tokens.
        accumulation: micro-batches of a step on one device.
    """

    mean_tokens: float
    longest_tokens: float
    example_tokens: float
    supervised_share: float
    accumulation: int


class Calibration(NamedTuple):
    """One line of the store.

    Attributes:
        machine: what `describe_machine` says of it.
        model: the model's shape.
        method: the recipe's method keys.
        load: of the measured steps.
        steps: how many were measured, after warm-up.
        step_seconds: of one optimizer step, without a new projection.
        projection_seconds: more in a step with a new projection; 0 without one.
        peak_memory_bytes: allocated on a GPU, the process's resident bytes on a CPU.
        date: of the measurement, ISO.
    """

    machine: Mapping[str, Any]
    model: Mapping[str, Any]
    method: Mapping[str, Any]
    load: Load
    steps: int
    step_seconds: float
    projection_seconds: float
    peak_memory_bytes: int
    date: str


class Calibrated(NamedTuple):
    """What a calibration says of a plan.

    Attributes:
        tokens_per_second: of all devices together.
        peak_gib: of one device, in 2³⁰ bytes; None where the plan's micro-batches are others than
            the measured ones.
        calibration: the line that it stands on.
    """

    tokens_per_second: Figure
    peak_gib: Figure | None
    calibration: Calibration


def find_store() -> Path:
    """The file of calibrations: LUTHIER_CALIBRATIONS, else in the user's data folder."""
    return find_user_file("calibrations.jsonl", STORE_VARIABLE)


def read_calibrations(store: Path) -> list[Calibration]:
    """All measurements, the oldest first; none where nothing was measured.

    Raises:
        PlanError: a line that `luthier calibrate` did not write.
    """
    if not store.exists():
        return []
    found: list[Calibration] = []
    try:
        for line in read_json_lines(store):
            if line["version"] == VERSION:
                values = {key: line[key] for key in Calibration._fields if key != "load"}
                found.append(Calibration(**values, load=Load(**line["load"])))
    except (ValueError, KeyError, TypeError) as error:
        raise PlanError(
            f"{store}: a line is no calibration ({error}). Remove it, or remove the file and "
            "calibrate again."
        ) from error
    return found


def describe_calibration(calibration: Calibration) -> dict[str, Any]:
    """The line of the store that `read_calibrations` reads back."""
    values = calibration._asdict()
    return {"version": VERSION, **values, "load": calibration.load._asdict()}


def describe_machine(device: Device, count: int, sharding: str) -> dict[str, Any]:
    """What makes two machines the same for a measurement."""
    machine: dict[str, Any] = {"device": device.name, "count": count, "sharding": sharding}
    if device.kind == "cpu":
        # How fast a processor is follows from how many of its cores torch may use.
        plain = device.float32_tflops or device.bf16_tflops
        machine["tflops"] = round(plain.value, 3)
        if device.has_bf16:
            machine["bf16"] = "faster"
        machine["threads"] = os.environ.get("OMP_NUM_THREADS")
    return machine


def describe_model(facts: ModelFacts) -> dict[str, Any]:
    """The shape of a model; its name may differ."""
    return {key: getattr(facts, key) for key in _MODEL_KEYS}


def describe_method(recipe: Recipe) -> dict[str, Any]:
    """The recipe's keys that change what a step computes or holds, where they are not default."""
    values = recipe.model_dump(mode="json", include=set(METHOD_KEYS), exclude_defaults=True)
    return dict(sorted(values.items()))


def describe_load(workload: Workload) -> Load:
    """What a step of `workload` holds."""
    recipe = workload.recipe
    return Load(
        workload.mean_tokens.value,
        workload.longest_tokens.value,
        workload.example_tokens.value,
        workload.supervised_share.value,
        recipe.gradient_accumulation_steps,
    )


def find_calibration(
    workload: Workload, machine: Machine, store: Path | None = None
) -> Calibrated | None:
    """The newest measurement of this machine, model and method, made to fit the workload's load.

    Raises:
        PlanError: the store cannot be read.
    """
    if workload.engine != "luthier":
        return None
    wanted = (
        describe_machine(machine.device, machine.count, machine.sharding),
        describe_model(workload.facts),
        describe_method(workload.recipe),
    )
    matching = [
        item
        for item in read_calibrations(store or find_store())
        if (item.machine, item.model, item.method) == wanted
    ]
    if not matching:
        return None
    same = [item for item in matching if _is_same(item.load, describe_load(workload))]
    return (
        _as_measured(same[-1], workload, machine)
        if same
        else _scale(matching[-1], workload, machine)
    )


def _is_same(measured: Load, planned: Load) -> bool:
    if measured.accumulation != planned.accumulation:
        return False
    pairs = zip(measured[:4], planned[:4], strict=True)
    return all(abs(one - other) <= SAME_LOAD * max(one, other) for one, other in pairs)


def _step_seconds(calibration: Calibration, workload: Workload) -> float:
    """Seconds of an average step, the run's new projections spread over its steps."""
    projecting = calibration.projection_seconds * projections_per_step(workload)
    return calibration.step_seconds + projecting


def _say(calibration: Calibration) -> str:
    return f"{calibration.steps} steps on this machine, {calibration.date[:10]}"


def _as_measured(calibration: Calibration, workload: Workload, machine: Machine) -> Calibrated:
    seconds = _step_seconds(calibration, workload)
    tokens = calibration.load.mean_tokens * calibration.load.accumulation * _at_once(machine)
    source = _say(calibration)
    return Calibrated(
        Figure(tokens / seconds, "measured", source),
        Figure(calibration.peak_memory_bytes / 2**30, "measured", source),
        calibration,
    )


def _scale(calibration: Calibration, workload: Workload, machine: Machine) -> Calibrated:
    """The measured seconds, changed as the model of a step changes from that load to this one."""
    load = calibration.load
    as_measured = workload._replace(
        recipe=workload.recipe.model_copy(
            update={"gradient_accumulation_steps": load.accumulation}
        ),
        mean_tokens=Figure(load.mean_tokens, "measured"),
        example_tokens=Figure(load.example_tokens, "measured"),
        supervised_share=Figure(load.supervised_share, "measured"),
    )
    here = estimate_step(workload, machine).seconds.value
    there = estimate_step(as_measured, machine).seconds.value
    seconds = _step_seconds(calibration, workload) * here / there
    source = f"from a calibration of {_say(calibration)}, for other micro-batches"
    rate = Figure(count_step_tokens(workload, machine) / seconds, "computed", source)
    return Calibrated(rate, None, calibration)


def _at_once(machine: Machine) -> int:
    return 1 if machine.sharding == "none" else machine.count
