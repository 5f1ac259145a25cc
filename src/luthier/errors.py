"""What a user can get wrong, as types.

Every message says what is wrong, where, and how to mend it. The command line prints the
message alone, without a traceback, and exits with 2; anything that is not a LuthierError is a
bug of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class LuthierError(Exception):
    """Something the user can mend; the message says how."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a recipe or study file.

    Attributes:
        key: the offending key, dotted for nested ones (`datasets[0].path`), or "" for the file.
        what: what is wrong, in one sentence without the key's line.
        mend: what to write instead.
        line: 1-based line in the file, or None for a value that came from `--set`.
    """

    key: str
    what: str
    mend: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        mend = f" {self.mend}" if self.mend else ""
        return f"{where}{self.what}{mend}"


class RecipeError(LuthierError, ValueError):
    """A recipe or study that cannot be run; carries all its mistakes at once."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{source}: {count} mistake{'s' if count != 1 else ''}"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class DataError(LuthierError, ValueError):
    """A data file, row or example that cannot be used; names file and line where it has them."""


class ModelError(LuthierError):
    """A base model, adapter or tokenizer that cannot be loaded or does not fit its use."""


class TrainingError(LuthierError):
    """A run that cannot go on, such as a loss that is no longer a number."""


class OutputError(LuthierError, OSError):
    """An output folder that cannot be written: permission, disk full, or holding another run."""


class ComparisonError(LuthierError, ValueError):
    """Evaluation files that cannot be compared: no shared ids, no such metric, too few rows."""


class PlanError(LuthierError, ValueError):
    """A fact that a plan cannot do without: names what is missing and the flag that supplies it."""
