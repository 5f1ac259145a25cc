"""The Elle briefing: generate a JSON briefing and score it against its true values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from luthier.data.examples import Example
from luthier.errors import DataError
from luthier.evaluate.generate import generate, render_prompt
from luthier.evaluate.model import EvaluatedModel
from luthier.evaluate.task import Scored, Task, TaskOptions, batches_by_length, no_summary
from luthier.evaluate.tasks.elle_score import METRIC_KINDS, score_elle


def check_elle(examples: Sequence[Example]) -> None:
    for example in examples:
        if example.truth is None:
            raise DataError(
                f"{example.where or example.id}: no `truth` beside the conversation. The elle "
                "task scores rows that `luthier data elle` wrote."
            )


def score_briefings(
    model: EvaluatedModel, examples: Sequence[Example], options: TaskOptions
) -> Iterator[Scored]:
    prompts = {example.id: render_prompt(model, example) for example in examples}
    batches = batches_by_length(examples, lambda e: len(prompts[e.id]), options.batch_size)
    for batch in batches:
        shown = [prompts[example.id] for example in batch]
        outputs = generate(model, shown, options.max_new_tokens)
        for example, prompt, output in zip(batch, shown, outputs, strict=True):
            assert example.truth is not None
            yield Scored(example.id, prompt, output, score_elle(output, example.truth), {})


ELLE = Task(METRIC_KINDS, check_elle, score_briefings, no_summary, TaskOptions(384, 32))
