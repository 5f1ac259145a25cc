"""A tokenised preference pair: one prompt, the preferred answer and the other one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class TokenizedPair(NamedTuple):
    """One prompt with two answers.

    Both answers are supervised whole and end with the stop token, unless `sequence_len` cut it
    off. `prompt_ids` followed by `chosen_ids` is exactly the tokenisation of the whole preferred
    conversation, and so with the rejected one.
    """

    id: str
    prompt_ids: np.ndarray  # (P,) int32
    chosen_ids: np.ndarray  # (C,) int32
    rejected_ids: np.ndarray  # (R,) int32

    @property
    def tokens(self) -> int:
        """How many tokens it takes in a row: the prompt once, and both answers."""
        return len(self.prompt_ids) + len(self.chosen_ids) + len(self.rejected_ids)

    @property
    def sequence_tokens(self) -> int:
        """Tokens of the longer of the two conversations: what a model must be able to read."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))

    @property
    def supervised_tokens(self) -> int:
        return len(self.chosen_ids) + len(self.rejected_ids)
