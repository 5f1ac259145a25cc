"""`after` of an arm: it trains on from what another arm has trained, seed by seed.

    arms:
      sft:  {adapter: lora, ...}
      orpo: {after: sft, rl: orpo, ...}

The arm's `base_model` is then the result of the other arm's run with the same seed. Both are
scored, so the study shows what each stage adds. An arm stands below the one it comes after, so that
there is no circle and the runs can be done in order.
"""

from __future__ import annotations

from typing import Any

from luthier.errors import Problem
from luthier.recipe.check import shown
from luthier.recipe.layer import Layer
from luthier.recipe.translate import unknown_key

AFTER = "after"


def take_after(
    layer: Layer, name: str, settings: dict[str, Any], earlier: list[str]
) -> tuple[str | None, list[Problem]]:
    """Take `after` out of an arm's settings; None where there is none, or a wrong one.

    Args:
        layer: the study, for the place.
        earlier: names of the arms above this one.
    """
    value = settings.pop(AFTER, None)
    if value is None:
        return None, []
    path = ("arms", name, AFTER)
    if value not in earlier:
        what = f"arm `{name}`: `after: {shown(value).strip('`')}` names no arm above it."
        _, guess = unknown_key(str(value), earlier)
        mend = guess if guess.startswith("did you mean") else "List that arm above this one."
        return None, [layer.problem(path, what, mend)]
    if settings.get("base_model") is not None:
        what = f"arm `{name}`: `after` and `base_model` are both given."
        return None, [layer.problem(path, what, "Keep one; `after` brings the model.")]
    return str(value), []
