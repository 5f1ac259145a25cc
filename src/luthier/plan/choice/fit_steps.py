"""The single changes that may make a run fit its device, in the order of what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from luthier.plan.choice.recipe_changes import change_recipe, spread_batch
from luthier.plan.machine.hardware import Device, Machine, Sharding
from luthier.plan.model.model_facts import ModelFacts
from luthier.recipe.resolve import projection_family
from luthier.recipe.schema import Recipe

MOST_DEVICES = 8
SHORTEST_ROW_TOKENS = 256


class Setting(NamedTuple):
    """A recipe on a model and a machine."""

    recipe: Recipe
    facts: ModelFacts
    machine: Machine


class Around(NamedTuple):
    """What a change may draw on.

    Attributes:
        longest_example_tokens: of the data; rows cannot be shorter. None where unknown.
        devices: those that could be rented instead.
        models: smaller ones that could be trained instead, the largest first.
    """

    longest_example_tokens: float | None
    devices: Sequence[Device]
    models: Sequence[ModelFacts]


class Variant(NamedTuple):
    """A changed setting, as (key, new value) pairs, and what it costs in words."""

    settings: tuple[tuple[str, str], ...]
    cost: str
    after: Setting


Step = Callable[[Setting, Around], Iterator[Variant]]


def shorten_rows(setting: Setting, around: Around) -> Iterator[Variant]:
    """Packed rows that are longer than any example hold the same tokens when they are shorter."""
    recipe, longest = setting.recipe, around.longest_example_tokens
    if not recipe.sample_packing or longest is None:
        return
    length = recipe.sequence_len // 2
    while length >= max(longest, SHORTEST_ROW_TOKENS):
        accumulation = recipe.gradient_accumulation_steps * recipe.sequence_len // length
        changes = {"sequence_len": length, "gradient_accumulation_steps": accumulation}
        cost = (
            f"no example is longer than {longest:,.0f} tokens; smaller pieces are a little slower"
        )
        yield from _change(setting, changes, cost)
        length //= 2


def halve_micro_batch(setting: Setting, around: Around) -> Iterator[Variant]:
    """The same optimizer step in smaller pieces."""
    size, accumulation = (
        setting.recipe.micro_batch_size,
        setting.recipe.gradient_accumulation_steps,
    )
    while size > 1 and size % 2 == 0:
        size, accumulation = size // 2, accumulation * 2
        changes = {"micro_batch_size": size, "gradient_accumulation_steps": accumulation}
        yield from _change(setting, changes, "the same step in smaller pieces: a little slower")


def checkpoint_gradients(setting: Setting, around: Around) -> Iterator[Variant]:
    """A forward pass costs half of a backward pass, or as much where the base is frozen."""
    if setting.recipe.gradient_checkpointing:
        return
    more = "a third" if setting.recipe.adapter is None else "up to a half"
    cost = f"every layer is worked out twice: {more} more time, the same result"
    yield from _change(setting, {"gradient_checkpointing": True}, cost)


def use_8bit_moments(setting: Setting, around: Around) -> Iterator[Variant]:
    """AdamW's, or those of GaLore, APOLLO and Fira."""
    recipe = setting.recipe
    family = projection_family(recipe.optimizer)
    name = "adamw_bnb_8bit" if family is None else f"{family}_adamw_8bit"
    if recipe.optimizer.endswith("8bit") or "mini" in recipe.optimizer:
        return
    cost = "moments in 8 bit: no loss that its authors measured (arXiv 2110.02861)"
    yield from _change(setting, {"optimizer": name}, cost)


def share_model(setting: Setting, around: Around) -> Iterator[Variant]:
    """Over the devices that are there."""
    machine = setting.machine
    if machine.count == 1 or machine.sharding not in ("none", "ddp", "zero2"):
        return
    ways: tuple[Sharding, ...] = ("zero2", "fsdp")
    for way in ways[1:] if machine.sharding == "zero2" else ways:
        after = setting._replace(machine=machine._replace(sharding=way))
        yield Variant((("sharding", way),), "devices exchange weights: some slower", after)


def add_devices(setting: Setting, around: Around) -> Iterator[Variant]:
    """Twice as many, and again, the model shared among them."""
    machine = setting.machine
    if machine.device.kind in ("cpu", "unified"):
        return
    count = machine.count * 2
    while count <= MOST_DEVICES:
        price = machine.usd_per_hour
        if price is not None:
            price = price._replace(value=price.value / machine.count * count)
        recipe = spread_batch(setting.recipe, machine.count, count)
        after = Setting(recipe, setting.facts, Machine(machine.device, count, "fsdp", price))
        dollars = "" if price is None else f", ${price.value:.2f} an hour together"
        cost = f"{count} devices{dollars}; about {machine.count / count:.0%} of the hours at best"
        pairs = (("gpus", str(count)), ("sharding", "fsdp"), *_differing(setting.recipe, recipe))
        yield Variant(pairs, cost, after)
        count *= 2


def use_lora(setting: Setting, around: Around) -> Iterator[Variant]:
    """Instead of training all weights."""
    if setting.recipe.adapter is not None:
        return
    changes = {**_lora_keys(setting.recipe, 32), "adapter": "lora"}
    cost = "few weights are trained: may score less where much is to be learnt"
    yield from _change(setting, changes, cost)


def use_4bit_base(setting: Setting, around: Around) -> Iterator[Variant]:
    """QLoRA, with the recipe's own rank where it has one."""
    recipe = setting.recipe
    if recipe.load_in_4bit:
        return
    keys = {} if recipe.adapter is not None else _lora_keys(recipe, 64)
    changes = {**keys, "adapter": "qlora", "load_in_4bit": True, "load_in_8bit": None}
    trained = "" if recipe.adapter is not None else "few weights are trained, "
    cost = f"{trained}the base is rounded to 4 bit: a small loss; unpacking takes time"
    yield from _change(setting, changes, cost)


def offload(setting: Setting, around: Around) -> Iterator[Variant]:
    """Weights and moments wait in the computer's own memory."""
    machine = setting.machine
    if machine.device.kind in ("cpu", "unified") or machine.sharding == "zero3-offload":
        return
    after = setting._replace(machine=machine._replace(sharding="zero3-offload"))
    cost = "weights and moments travel over PCIe in every step: several times slower"
    yield Variant((("sharding", "zero3-offload"),), cost, after)


def take_bigger_device(setting: Setting, around: Around) -> Iterator[Variant]:
    """Those with more memory that can be rented, the cheapest first."""
    machine = setting.machine
    capacity = machine.device.capacity_gib.value
    bigger = [
        device
        for device in around.devices
        if device.usd_per_hour is not None and device.capacity_gib.value > capacity
    ]
    for device in _without_dearer(bigger):
        price = device.usd_per_hour
        assert price is not None
        together = price._replace(value=price.value * machine.count)
        after = setting._replace(machine=machine._replace(device=device, usd_per_hour=together))
        cost = f"${price.value:.2f} an hour each, a typical price"
        yield Variant((("gpu", device.name),), cost, after)


def take_smaller_model(setting: Setting, around: Around) -> Iterator[Variant]:
    """Of the same series, the largest first."""
    for model in around.models:
        changed = change_recipe(setting.recipe, {"base_model": model.name})
        if changed is None:
            continue
        cost = f"another model of {model.parameters / 1e9:.1f} billion weights: it knows less"
        after = setting._replace(recipe=changed, facts=model)
        yield Variant((("base_model", model.name),), cost, after)


# The cheap ones change no result and no machine; they are combined with one another and with the
# others. Each table is in the order of cost.
CHEAP: tuple[Step, ...] = (
    shorten_rows,
    halve_micro_batch,
    checkpoint_gradients,
    use_8bit_moments,
)
DEAR: tuple[Step, ...] = (
    share_model,
    add_devices,
    use_lora,
    use_4bit_base,
    take_bigger_device,
    offload,
    take_smaller_model,
)


def _change(setting: Setting, changes: Mapping[str, Any], cost: str) -> Iterator[Variant]:
    changed = change_recipe(setting.recipe, changes)
    if changed is not None:
        pairs = _differing(setting.recipe, changed)
        yield Variant(pairs, cost, setting._replace(recipe=changed))


def _differing(before: Recipe, after: Recipe) -> tuple[tuple[str, str], ...]:
    """Keys and new values, as `--set` takes them; `null` unsets a key that means nothing now."""
    pairs: list[tuple[str, str]] = []
    for key in Recipe.model_fields:
        value = getattr(after, key)
        if value == getattr(before, key):
            continue
        gone = value is None or (
            key in before.model_fields_set and key not in after.model_fields_set
        )
        pairs.append((key, "null" if gone else _as_yaml(value)))
    return tuple(pair for pair in pairs if not _follows(pair[0], after))


def _follows(key: str, recipe: Recipe) -> bool:
    """Whether a key has the value of its leader, which says enough."""
    leader = {"eval_batch_size": "micro_batch_size", "eval_sample_packing": "sample_packing"}
    return key in leader and getattr(recipe, key) == getattr(recipe, leader[key])


def _as_yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _lora_keys(recipe: Recipe, rank: int) -> dict[str, Any]:
    rate = {} if recipe.rl is not None else {"learning_rate": 2e-4}
    optimizer = recipe.optimizer
    if projection_family(optimizer) is not None:
        optimizer = "adamw_bnb_8bit" if optimizer.endswith("8bit") else "adamw_torch_fused"
    return {
        "lora_r": rank,
        "lora_alpha": 2 * rank,
        "lora_target_linear": True,
        "optimizer": optimizer,
        **rate,
    }


def _without_dearer(devices: Sequence[Device]) -> Iterator[Device]:
    """By price, only those that have more memory than every cheaper one."""
    most = 0.0
    for device in sorted(devices, key=lambda device: (_price(device), -device.capacity_gib.value)):
        if device.capacity_gib.value > most:
            most = device.capacity_gib.value
            yield device


def _price(device: Device) -> float:
    return device.usd_per_hour.value if device.usd_per_hour is not None else float("inf")
