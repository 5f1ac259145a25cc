"""What a study's tasks ask of the machine that scores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from luthier.plan.amounts.tokens import TokenCount
from luthier.plan.figure import Figure, weakest
from luthier.plan.time.evaluation_time import EvaluationLoad, TaskLoad
from luthier.recipe.study import TaskSpec

# Task → whether its answers are written token by token or their likelihood is read in one pass.
_KINDS: Mapping[str, Literal["likelihood", "generation"]] = {
    "elle": "generation",
    "classification": "likelihood",
    "perplexity": "likelihood",
}
USUAL_BATCH = 16


def build_evaluation_load(
    tasks: Sequence[TaskSpec], examples: Mapping[str, Figure | None], counts: TokenCount
) -> EvaluationLoad:
    """The tasks whose number of examples is known; their rows are taken to be like training's."""
    answer_share = counts.supervised_share
    tokens = counts.tokens_per_example
    answer = _part(tokens, answer_share, answer_share.value, "labelled share of an example")
    prompt = _part(tokens, answer_share, 1 - answer_share.value, "the rest of an example")
    loads: list[TaskLoad] = []
    for task in tasks:
        count = examples.get(task.name)
        if count is None:
            continue
        longest = Figure(float(task.max_new_tokens or answer.value), "given", "max_new_tokens")
        written = answer if answer.value <= longest.value else longest
        batch = task.batch_size or USUAL_BATCH
        loads.append(TaskLoad(task.name, _KINDS[task.task], count, prompt, written, batch))
    return EvaluationLoad(tuple(loads))


def _part(tokens: Figure, share: Figure, value: float, source: str) -> Figure:
    return Figure(tokens.value * value, weakest(tokens, share), source)
