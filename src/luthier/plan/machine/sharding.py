"""How several devices share a model, as the flags or the recipe's `deepspeed` say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from luthier.errors import PlanError
from luthier.plan.machine.hardware import Sharding
from luthier.recipe.schema import Recipe

SHARDINGS: tuple[Sharding, ...] = get_args(Sharding)

# ZeRO's stage → the planner's name. Stage 1 shards the optimizer's state alone; its gradients are
# reduced whole, which for memory lies between copies and stage 2, and is counted as copies.
_STAGES: Mapping[int, Sharding] = {0: "ddp", 1: "ddp", 2: "zero2", 3: "zero3"}


def choose_sharding(recipe: Recipe, asked: Sharding | None, count: int) -> Sharding:
    """What was asked for, else what the recipe's DeepSpeed settings say, else copies.

    Args:
        recipe: its `deepspeed` is a mapping or the path of a JSON file.
        asked: by the command line or the study's `plan`.
        count: devices; a single one shares nothing, but may offload.

    Raises:
        PlanError: DeepSpeed's file is not there or says nothing of ZeRO.
    """
    if asked is not None:
        return asked
    if recipe.deepspeed is None:
        return "none" if count == 1 else "ddp"
    zero = _read_zero(recipe.deepspeed)
    stage = zero.get("stage")
    sharding = _STAGES.get(stage) if isinstance(stage, int) else None
    if sharding is None:
        raise PlanError(
            f"deepspeed: zero_optimization.stage is {stage!r}; 0, 1, 2 or 3 is meant. "
            "Mend the file, or give --sharding."
        )
    if sharding == "zero3" and _offloads(zero):
        return "zero3-offload"
    return "none" if count == 1 else sharding


def _read_zero(deepspeed: str | Mapping[str, Any]) -> Mapping[str, Any]:
    settings: Any = deepspeed
    if isinstance(deepspeed, str):
        try:
            settings = json.loads(Path(deepspeed).read_text(encoding="utf-8"))
        except OSError:
            raise PlanError(
                f"deepspeed: {deepspeed} cannot be read from here, so how the devices share the "
                f"model is not known. Give --sharding: {', '.join(SHARDINGS)}."
            ) from None
        except ValueError as error:
            raise PlanError(f"deepspeed: {deepspeed} is not valid JSON ({error}).") from None
    zero = settings.get("zero_optimization") if isinstance(settings, Mapping) else None
    return zero if isinstance(zero, Mapping) else {"stage": 0}


def _offloads(zero: Mapping[str, Any]) -> bool:
    def on_cpu(name: str) -> bool:
        place = zero.get(name)
        return isinstance(place, Mapping) and place.get("device") in ("cpu", "nvme")

    return on_cpu("offload_optimizer") or on_cpu("offload_param")
