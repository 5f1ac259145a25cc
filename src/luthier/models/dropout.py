"""A model's own dropout, switched off where its noise would be measured."""

from __future__ import annotations

from typing import Any


def switch_dropout_off(causal: Any) -> bool:
    """Set every dropout of a model to 0; True where one was above.

    For training on preferences: a policy with dropout beside a reference without it differs from
    it by noise. The DPO authors' code and TRL's default do the same.

    Families keep the probability in a dropout layer, in a number of another layer or in the
    configuration, so that a configuration saved afterwards says 0 too. Call it before an adapter
    is put on, whose own dropout stays.
    """
    holders = {id(module): module for module in causal.modules()}
    for module in causal.modules():
        config = getattr(module, "config", None)
        if config is not None:
            holders[id(config)] = config
    lowered = [_set_to_zero(holder) for holder in holders.values()]
    return any(lowered)


def _set_to_zero(holder: Any) -> bool:
    is_dropout = "Dropout" in type(holder).__name__
    names = [
        name
        for name, value in vars(holder).items()
        if ("drop" in name or (is_dropout and name == "p"))
        and isinstance(value, float)
        and value > 0
    ]
    for name in names:
        setattr(holder, name, 0.0)
    return bool(names)
