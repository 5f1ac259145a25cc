"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable

from luthier.objectives.dpo import build_dpo
from luthier.objectives.ipo import build_ipo
from luthier.objectives.objective import Objective
from luthier.objectives.orpo import build_orpo
from luthier.objectives.settings import ObjectiveSettings
from luthier.objectives.sft import build_sft
from luthier.objectives.simpo import build_simpo

OBJECTIVES: dict[str | None, Callable[[ObjectiveSettings], Objective]] = {
    None: build_sft,
    "dpo": build_dpo,
    "ipo": build_ipo,
    "simpo": build_simpo,
    "orpo": build_orpo,
}

WITH_REFERENCE = frozenset({"dpo", "ipo"})
"""Those that compare the model with what it was before."""
