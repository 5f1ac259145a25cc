"""LoRA+ beside PEFT's `create_loraplus_optimizer`: its groups and the first updates.

PEFT differs where DoRA's magnitude is trained: everything of one dimension goes into B's group
there, at `ratio` times the rate and with weight decay. Here it moves at the plain rate and is not
decayed, and the reference is corrected so. PEFT's fourth group, for adapters on embeddings, has no
counterpart: such adapters do not exist here.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer

from luthier.adapters.attach_lora import LoraTargets, attach_lora
from luthier.adapters.attached import AttachedAdapter
from luthier.adapters.lora import LoraSettings
from luthier.optim.groups import GroupSettings, build_groups
from luthier.optim.settings import AdamSettings, OptimizerSettings
from luthier.optim.table import OPTIMIZERS
from verification.check import compare_named, largest
from verification.models import build_model
from verification.peft_models import IDS, peft_name

RATE, DECAY, RATIO = 0.01, 0.1, 16.0
ADAM = AdamSettings(0.85, 0.95, 1e-6)
TARGETS = ["q_proj", "down_proj"]

GroupOf = dict[str, tuple[float, float]]  # name → (learning rate, weight decay)


def attach(model: Any, *, dora: bool) -> AttachedAdapter:
    """Our adapter in float64, B moved off zero so that A has a gradient from the first step."""
    torch.manual_seed(1)
    targets = LoraTargets(TARGETS, False)
    settings = LoraSettings(2, 4, magnitude=dora)
    adapter = attach_lora(model, settings, targets, base_model="", dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in adapter.parameters.items():
            if name.endswith("lora_B"):
                parameter.normal_(0.0, 0.1)
    adapter.refresh()
    return adapter


def build_peft(adapter: AttachedAdapter, *, dora: bool) -> Any:
    config = LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS, use_dora=dora)
    model = get_peft_model(build_model("qwen2"), config).double()
    theirs = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in adapter.parameters.items():
            theirs[peft_name(name)].copy_(parameter)
    return model


def build_peft_optimizer(model: Any) -> torch.optim.Optimizer:
    """PEFT's, with the magnitudes taken out of B's group into one of their own."""
    optimizer = create_loraplus_optimizer(
        model,
        torch.optim.AdamW,
        lr=RATE,
        loraplus_lr_ratio=RATIO,
        loraplus_weight_decay=DECAY,
        betas=(ADAM.beta1, ADAM.beta2),
        eps=ADAM.epsilon,
    )
    magnitudes = [p for name, p in model.named_parameters() if "magnitude" in name]
    kept = {id(parameter) for parameter in magnitudes}
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in kept]
    if magnitudes:
        optimizer.add_param_group({"params": magnitudes, "lr": RATE, "weight_decay": 0.0})
    return optimizer


def build_our_groups(adapter: AttachedAdapter) -> list[dict[str, Any]]:
    return build_groups(adapter.parameters, adapter.roles, GroupSettings(RATE, DECAY, RATIO))


def read_groups(optimizer: torch.optim.Optimizer, names: dict[int, str]) -> GroupOf:
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def compare_groups(*, dora: bool) -> float:
    """Learning rate and weight decay of every trained tensor."""
    adapter = attach(build_model("qwen2"), dora=dora)
    groups = build_our_groups(adapter)
    ours = OPTIMIZERS["adamw_torch"](groups, OptimizerSettings(ADAM))
    names = {id(parameter): name for name, parameter in adapter.parameters.items()}
    found = read_groups(ours, names)
    model = build_peft(adapter, dora=dora)
    theirs = {id(p): name for name, p in model.named_parameters()}
    expected = read_groups(build_peft_optimizer(model), theirs)
    differences: list[float] = []
    for name, (rate, decay) in found.items():
        their_rate, their_decay = expected[peft_name(name)]
        differences += [abs(rate - their_rate) / RATE, abs(decay - their_decay) / DECAY]
    assert len(expected) == len(found)
    return largest(differences)


def compare_updates(*, dora: bool, steps: int = 3) -> float:
    """Every trained tensor's movement after each of the first updates."""
    ours = build_model("qwen2")
    adapter = attach(ours, dora=dora)
    theirs = build_peft(adapter, dora=dora)
    mine = OPTIMIZERS["adamw_torch"](build_our_groups(adapter), OptimizerSettings(ADAM))
    reference = build_peft_optimizer(theirs)
    trained = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    start = {name: p.detach().clone() for name, p in trained.items()}
    differences: list[float] = []
    for step in range(steps):
        ids = (IDS + 7 * step) % 290 + 3
        for model, optimizer in ((ours, mine), (theirs, reference)):
            optimizer.zero_grad()
            model(ids, labels=ids).loss.backward()
            optimizer.step()
        adapter.refresh()
        mine_now = {peft_name(name): p for name, p in adapter.parameters.items()}
        found = {name: p - start[name] for name, p in mine_now.items()}
        moved = {name: p - start[name] for name, p in trained.items()}
        differences.append(compare_named(found, moved))
    return largest(differences)
