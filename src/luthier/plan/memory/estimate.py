"""The peak memory of a run on each device of a machine, from the recipe alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from luthier.plan.figure import Figure, weakest
from luthier.plan.machine.hardware import Machine
from luthier.plan.memory.cpu_process import measure_process
from luthier.plan.memory.device_figure import estimate_device_gib, judge_fit
from luthier.plan.memory.layer import AdapterOn, measure_layer
from luthier.plan.memory.logits import measure_logits
from luthier.plan.memory.moments import Held, Ingredients, find_peak, most_transient
from luthier.plan.memory.number_formats import Formats, choose_formats
from luthier.plan.memory.optimizer import (
    OptimizerBytes,
    measure_optimizer_for_adapter,
    measure_optimizer_for_model,
)
from luthier.plan.memory.shares import choose_shares
from luthier.plan.memory.weights import Packing, measure_weights
from luthier.plan.model.model_facts import ModelFacts
from luthier.plan.work.engines import ENGINES, EngineTraits
from luthier.plan.work.trainable import AdaptedLinear, head_of, list_adapted
from luthier.plan.work.workload import Workload
from luthier.recipe.resolve import quantised_bits
from luthier.recipe.schema import Recipe

GIB = 2**30
ADAPTER_BYTES = 4  # of a weight: adapters are float32 whatever the base is
PARTS = ("weights", "gradients", "optimizer", "adapter", "activations", "logits", "overhead")


class Memory(NamedTuple):
    """Memory of one device at its fullest moment.

    Attributes:
        parts: in GiB, by name; they add up to `allocated_gib`.
        allocated_gib: what PyTorch allocates; on a CPU what the process holds.
        device_gib: what the device's own tool shows.
        capacity_gib: what the device has.
        fits: whether it runs there.
        moment: when it is fullest.
        host_gib: what waits in the computer's own memory, of all devices together; None without
            offload.
    """

    parts: Mapping[str, Figure]
    allocated_gib: Figure
    device_gib: Figure
    capacity_gib: Figure
    fits: Literal["yes", "tight", "no"]
    moment: str
    host_gib: Figure | None = None


def estimate_memory(
    workload: Workload, machine: Machine, traits: EngineTraits | None = None
) -> Memory:
    """Peak memory on each device.

    Args:
        traits: of another version of the workload's engine than the table has.

    Raises:
        PlanError: an adapter on a layer that the model does not have.
    """
    traits = traits or ENGINES[workload.engine]
    formats = choose_formats(workload.recipe, machine.device, traits, machine.sharding)
    shares = choose_shares(machine)
    run = _gather(workload, machine, traits, formats)
    peak = find_peak(run, shares)
    if machine.device.kind == "cpu":
        process = measure_process(
            peak.total, workload.recipe, workload.facts, bfloat16=formats.compute == 2
        )
        peak = peak._replace(overhead=process)
    tokens = workload.longest_tokens
    parts = {name: _part(name, peak, workload, machine) for name in PARTS}
    allocated = Figure(
        peak.total / GIB, weakest(tokens, parts["overhead"]), f"at its fullest: {peak.moment}"
    )
    capacity = machine.device.capacity_gib
    return Memory(
        parts,
        allocated,
        estimate_device_gib(allocated, most_transient(run, shares) / GIB, machine),
        capacity,
        judge_fit(allocated.value, capacity.value),
        peak.moment,
        _host(run) if machine.sharding == "zero3-offload" else None,
    )


def _host(run: Ingredients) -> Figure:
    """Weights, gradients and the optimizer's state, all of which offload keeps off the devices."""
    held = run.weights.total + run.adapter + run.gradients + run.optimizer.state
    return Figure(held / GIB, "computed", "weights, gradients and optimizer in the host's memory")


def _part(name: str, peak: Held, workload: Workload, machine: Machine) -> Figure:
    value = getattr(peak, name) / GIB
    if name == "overhead" and machine.device.kind == "cpu":
        return Figure(value, "assumed", "a process with PyTorch imported, and gaps in its heap")
    if name in ("activations", "logits"):
        tokens = workload.longest_tokens
        figures = (tokens, workload.supervised_share) if name == "logits" else (tokens,)
        basis = "assumed" if any(item.basis == "assumed" for item in figures) else "computed"
        return Figure(value, basis, f"{tokens.value:,.0f} tokens in the largest micro-batch")
    return Figure(value, "computed", f"at its fullest: {peak.moment}")


def _gather(
    workload: Workload, machine: Machine, traits: EngineTraits, formats: Formats
) -> Ingredients:
    recipe, facts = workload.recipe, workload.facts
    full = recipe.adapter is None
    on_cpu = machine.device.kind == "cpu"
    packing = _packing(recipe, traits)
    adapted = list_adapted(recipe, facts)
    on_head = any(item.linear == head_of(facts) for item in adapted)
    layer = measure_layer(
        facts, formats, traits, recipe, _adapter_on(recipe, facts, adapted, on_cpu)
    )
    weights = measure_weights(facts, formats.trained if full else formats.compute, packing)
    in_use = measure_weights(facts, formats.compute, packing)
    casts = full and formats.copies_weights and not machine.sharding.startswith("fsdp")
    gradients = facts.parameters * formats.trained if full else ADAPTER_BYTES * workload.trainable
    tokens = workload.longest_tokens.value
    labels = tokens * workload.supervised_share.value
    logits = measure_logits(
        facts, formats, traits, tokens=tokens, labels=labels, head_trained=full or on_head
    )
    return Ingredients(
        weights=weights,
        gathered=in_use,
        copies=in_use.layers if casts else 0.0,
        copied_layer=in_use.layers / facts.layers if casts else 0.0,
        reference=_reference(recipe, traits, in_use.total),
        adapter=0.0 if full else ADAPTER_BYTES * workload.trainable,
        gradients=gradients,
        first_gradients=formats.trained * facts.vocabulary * facts.width if full else 0.0,
        last_gradients=formats.trained * _arriving_last(facts) if full else 0.0,
        gathered_gradients=in_use.layers / facts.layers if full else 0.0,
        optimizer=_optimizer(recipe, facts, formats, adapted, on_cpu=on_cpu),
        layer=layer,
        logits=logits,
        input_bytes=formats.hidden * facts.width,
        layers=facts.layers,
        tokens=tokens,
        unlabelled=tokens - labels if traits.labelled_only else 0.0,
        checkpoints=recipe.gradient_checkpointing,
        accumulates=recipe.gradient_accumulation_steps > 1,
        trains_base=full,
        trained=workload.trainable,
        overhead=0.0 if on_cpu else traits.workspace_mib * 2**20,
    )


def _arriving_last(facts: ModelFacts) -> float:
    """Weights whose gradient is not there yet when the first layer is worked on."""
    embedding = 0 if facts.tied_head else facts.embedding_weights
    return embedding + facts.linear_weights / facts.layers


def _packing(recipe: Recipe, traits: EngineTraits) -> Packing | None:
    bits = quantised_bits(recipe)
    if bits is None:
        return None
    return Packing(bits, recipe.bnb_4bit_use_double_quant, traits.packs_experts)


def _reference(recipe: Recipe, traits: EngineTraits, model_bytes: float) -> float:
    """A frozen second model: with an adapter the base itself is the reference."""
    compares = recipe.rl in ("dpo", "ipo") and recipe.adapter is None
    return model_bytes if compares and traits.copies_reference else 0.0


def _adapter_on(
    recipe: Recipe, facts: ModelFacts, adapted: tuple[AdaptedLinear, ...], on_cpu: bool
) -> AdapterOn | None:
    if recipe.adapter is None:
        return None
    assert recipe.lora_r is not None  # The rules hold a recipe to it.
    head = head_of(facts)
    inside = tuple(item.linear for item in adapted if item.linear != head)
    return AdapterOn(
        inside,
        recipe.lora_r,
        # PyTorch marks what it dropped with a byte on a GPU and with a number on a CPU.
        (4 if on_cpu else 1) if recipe.lora_dropout > 0 else 0,
        recipe.peft_use_dora,
        quantised_bits(recipe),
    )


def _optimizer(
    recipe: Recipe,
    facts: ModelFacts,
    formats: Formats,
    adapted: tuple[AdaptedLinear, ...],
    *,
    on_cpu: bool,
) -> OptimizerBytes:
    if recipe.adapter is None:
        return measure_optimizer_for_model(recipe, facts, formats, on_cpu=on_cpu)
    assert recipe.lora_r is not None  # The rules hold a recipe to it.
    tensors: list[tuple[int, int]] = []
    for item in adapted:
        count = item.linear.copies * item.layers
        tensors.append((recipe.lora_r * item.linear.inputs, count))
        tensors.append((recipe.lora_r * item.linear.outputs, count))
        if recipe.peft_use_dora:
            tensors.append((item.linear.outputs, count))
    return measure_optimizer_for_adapter(recipe, tensors, on_cpu=on_cpu)
