"""Evaluation: tasks × metrics, one score per example."""

from luthier.evaluate.task import Task
from luthier.evaluate.tasks.classification import CLASSIFICATION
from luthier.evaluate.tasks.elle import ELLE
from luthier.evaluate.tasks.perplexity import PERPLEXITY

TASKS: dict[str, Task] = {
    "elle": ELLE,
    "classification": CLASSIFICATION,
    "perplexity": PERPLEXITY,
}
