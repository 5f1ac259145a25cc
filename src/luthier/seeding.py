"""One seed, every generator.

Randomness inside an optimizer step (dropout, NEFTune's noise) is a pure function of the seed, the
step and the process: nothing has to be saved for a resumed run to draw the same numbers.
"""

from __future__ import annotations

import hashlib
import random


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from any parts, the same on every machine and in every process."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices)."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_step(seed: int, step: int, process: int) -> None:
    """Seed torch for one optimizer step of one process."""
    import torch

    torch.manual_seed(derive_seed("step", seed, step, process))
