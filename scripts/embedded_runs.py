"""How the embedded model is trained, and for how long: on a processor, and on a GPU."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a checkpoint must have been made with to be gone on from."""

    rows: int = 16
    sequence_tokens: int = 512
    mixture: str = "short"
    learning_rate: float = 3e-3
    weight_decay: float = 0.05  # of Muon's matrices
    validate_every: int = 250
    seed: int = 0  # of the order of the data


# The long run's numbers follow from the short run's, without a search on a GPU:
#
# - 128 rows are 65,536 tokens a step: enough for kernels that outlast their launch, and far below
#   the batch beyond which steps are wasted, which grows with the tokens seen and not with the
#   model (Zhang et al. 2024, arXiv:2410.21676). A billion tokens are then 15,000 steps.
# - The learning rate stays. Muon's update has the same root mean square whatever the gradient
#   and the shape, and the width is the same, so that there is nothing to transfer from one width
#   to another (what muP is for). Eight times the batch would ask for more, sqrt(8), eighty times
#   the tokens for less by about as much. The decay to zero makes the choice a forgiving one.
# - Weight decay is twice as strong, as natural text is repeated: more of it is what helps most
#   then (Kim et al. 2025, arXiv:2509.14786). Weights are a mean over the last
#   1 / (3e-3 * 0.1) = 3,300 steps, a fifth of the run; in the short run over all of it.
RUNS = {
    "short": Settings(),  # some ten million tokens, on a processor
    "long": Settings(rows=128, mixture="long", weight_decay=0.1),  # a billion, on a GPU
}


class Budget(NamedTuple):
    """How long the whole training is, over all its starts: one of the two."""

    steps: int | None = None
    seconds: float | None = None

    def progress(self, step: int, seconds: float) -> float:
        """The share that is done; the learning rate follows it, so that every end is annealed."""
        if self.steps is not None:
            return step / self.steps
        assert self.seconds is not None
        return seconds / self.seconds
