"""What the tests of a device share: the device that is here, and exact products on it.

With a GPU they run there, without one on the processor; what needs a GPU is skipped with a reason.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from luthier import device

UNORDERED: Counter[str] = Counter()
# PyTorch's sentences: "… does not have a deterministic implementation", "… defaults to a
# non-deterministic algorithm".
_UNORDERED = re.compile(r"^(.{1,80}?) (?:does not have a|defaults to a non-)\s*deterministic")


def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    """Count what the device computes in no fixed order."""
    found = _UNORDERED.search(str(warning_message.message))
    if found:
        UNORDERED[found[1]] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line that benchmarks/gpu/smoke.py reads."""
    if UNORDERED:
        counts = json.dumps(dict(UNORDERED))
        terminalreporter.write_line(f"operations in no fixed order: {counts}")


@pytest.fixture(scope="session")
def place() -> torch.device:
    """The device that a run started now would train on."""
    kind = device.describe_device().kind
    return torch.device("cuda", 0) if kind == "cuda" else torch.device("cpu")


@pytest.fixture(autouse=True)
def _exact_and_seeded() -> Iterator[None]:
    """Float32 products are float32's, and every test draws the same numbers.

    What a test asks of the order of sums ends with it.
    """
    torch.manual_seed(0)
    ordered = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    with device.exact_products():
        yield
    torch.use_deterministic_algorithms(ordered, warn_only=warns)
