"""What an evaluation task is, and what it yields for each example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from luthier.data.examples import Example
from luthier.evaluate.model import EvaluatedModel

Kind = Literal["yes/no", "score", "summary"]


class TaskOptions(NamedTuple):
    max_new_tokens: int
    batch_size: int


class Scored(NamedTuple):
    """One example's line in `<task>.jsonl`.

    Attributes:
        scores: metric → value; a metric that does not apply to this example is absent.
        details: whatever else the line should hold (`label`, `predicted`, token counts).
    """

    id: str
    prompt: str
    output: str
    scores: dict[str, float]
    details: dict[str, Any]


class Summary(NamedTuple):
    """What a task adds to the means of its scores.

    Attributes:
        metrics: figures without a value per example, such as macro-F1.
        details: further fields of `<task>.json`, such as a confusion matrix.
    """

    metrics: dict[str, float]
    details: dict[str, Any]


class Task(NamedTuple):
    """One evaluation task.

    Attributes:
        kinds: metric → whether it is yes/no or a score; the order in which they are shown.
        check: raises DataError when examples cannot be scored by this task.
        score: yields one Scored an example, in the examples' order or any other.
        summarise: folds over all scored lines, one at a time.
        defaults: used where the user names nothing else.
    """

    kinds: Mapping[str, Kind]
    check: Callable[[Sequence[Example]], None]
    score: Callable[[EvaluatedModel, Sequence[Example], TaskOptions], Iterator[Scored]]
    summarise: Callable[[Iterator[Mapping[str, Any]]], Summary]
    defaults: TaskOptions


def batches_by_length(
    examples: Sequence[Example], length_of: Callable[[Example], int], size: int
) -> Iterator[list[Example]]:
    """Batches of examples of like length, the longest first: memory runs out now or never."""
    order = sorted(examples, key=length_of, reverse=True)
    for start in range(0, len(order), size):
        yield list(order[start : start + size])


def no_summary(_rows: Iterator[Mapping[str, Any]]) -> Summary:
    return Summary({}, {})
