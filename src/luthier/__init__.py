"""Luthier plans, runs, measures and compares LLM fine-tuning studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luthier.processor import share_cores

# Before anything can import torch, which reads it once.
share_cores()

__version__ = "0.1.0"

if TYPE_CHECKING:
    from luthier.api import (
        calibrate,
        check,
        compare,
        compare_counts,
        evaluate,
        merge,
        plan,
        power,
        report,
        run_study,
        train,
    )

__all__ = [
    "__version__",
    "calibrate",
    "check",
    "compare",
    "compare_counts",
    "evaluate",
    "merge",
    "plan",
    "power",
    "report",
    "run_study",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load the verbs when they are asked for: `import luthier` alone costs nothing."""
    if name in __all__:
        from luthier import api

        return getattr(api, name)
    raise AttributeError(f"module 'luthier' has no attribute {name!r}")
