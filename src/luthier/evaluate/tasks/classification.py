"""Classification: which of the label words the model finds likeliest as its answer.

Nothing is generated, so nothing can fail to parse: the score is about the choice alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from luthier.data.examples import Example
from luthier.errors import DataError
from luthier.evaluate.generate import render_prompt
from luthier.evaluate.likelihood import score_answers
from luthier.evaluate.model import EvaluatedModel
from luthier.evaluate.task import Scored, Summary, Task, TaskOptions, batches_by_length

ROWS = 256


def check_labels(examples: Sequence[Example]) -> None:
    for example in examples:
        if example.label is None or len(example.labels) < 2:
            raise DataError(
                f"{example.where or example.id}: no label to score. The classification task needs "
                "rows of `type: classification`, with at least two different labels."
            )


def score_labels(
    model: EvaluatedModel, examples: Sequence[Example], options: TaskOptions
) -> Iterator[Scored]:
    labels = examples[0].labels
    stop = model.tokenizer.eos_token_id
    answers = [
        [*model.tokenizer(label, add_special_tokens=False)["input_ids"], stop] for label in labels
    ]
    prompts = {example.id: render_prompt(model, example) for example in examples}
    # Every prompt is held once for each label: many labels, fewer prompts at a time.
    size = min(options.batch_size, max(1, ROWS // len(labels)))
    for batch in batches_by_length(examples, lambda e: len(prompts[e.id]), size):
        shown = [prompts[example.id] for example in batch]
        scores = score_answers(model, shown, answers).tolist()
        for example, prompt, values in zip(batch, shown, scores, strict=True):
            predicted = labels[int(np.argmax(values))]
            yield Scored(
                example.id,
                prompt,
                predicted,
                {"accuracy": float(predicted == example.label)},
                {
                    "label": example.label,
                    "predicted": predicted,
                    "log_likelihoods": dict(zip(labels, values, strict=True)),
                },
            )


def summarise_labels(rows: Iterator[Mapping[str, Any]]) -> Summary:
    """Macro-F1, F1 of each class and the confusion matrix (rows: truth, columns: predicted)."""
    counts: dict[tuple[str, str], int] = {}
    labels: list[str] = []
    for row in rows:
        labels = labels or list(row["log_likelihoods"])
        pair = (row["label"], row["predicted"])
        counts[pair] = counts.get(pair, 0) + 1
    matrix = np.array([[counts.get((true, said), 0) for said in labels] for true in labels])
    f1 = compute_f1(matrix)
    # A label that neither occurs nor is predicted has no F1 to average.
    seen = (matrix.sum(0) + matrix.sum(1)) > 0
    metrics = {"macro_f1": float(f1[seen].mean())}
    metrics |= {f"f1_{label}": float(value) for label, value in zip(labels, f1, strict=True)}
    return Summary(metrics, {"labels": labels, "confusion_matrix": matrix.tolist()})


def compute_f1(matrix: np.ndarray) -> np.ndarray:
    """F1 of each class, 2·hits / (2·hits + misses + false alarms); 0 for a class never seen."""
    hits = np.diag(matrix).astype(float)
    both = matrix.sum(0) + matrix.sum(1)
    return np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)


CLASSIFICATION = Task(
    {"accuracy": "yes/no"}, check_labels, score_labels, summarise_labels, TaskOptions(0, 64)
)
