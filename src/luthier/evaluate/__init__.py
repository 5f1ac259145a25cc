"""Evaluation: tasks × metrics, one score per example."""

from __future__ import annotations

from luthier.evaluate.task import Task
from luthier.evaluate.tasks.classification import CLASSIFICATION
from luthier.evaluate.tasks.elle import ELLE
from luthier.evaluate.tasks.perplexity import PERPLEXITY
from luthier.verbs import make_callable

TASKS: dict[str, Task] = {
    "elle": ELLE,
    "classification": CLASSIFICATION,
    "perplexity": PERPLEXITY,
}

make_callable(__name__)
