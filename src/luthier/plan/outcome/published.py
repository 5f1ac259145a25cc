"""What techniques have scored elsewhere: a table with sources, looked up and never stretched.

A result is taken only for the same data, the same base model and the same method. What differs in
amounts (steps, batch) is in the source, for the reader to judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from luthier.plan.choice.methods import Family, Method
from luthier.plan.figure import Basis


class PublishedStudy(NamedTuple):
    """One comparison of methods on the same model and data.

    Attributes:
        title: what it is called in tables.
        base_model: what was trained.
        data_words: a dataset whose name holds one of these (lower case, `-` as `_`) is this data.
        metric: what the values are; they are shares, more is better.
        examples: test examples behind each value.
        rerun_spread: what re-runs of one technique were seen to differ by; None where nobody
            repeated one.
        basis: `measured`, or `assumed` where the source itself only expects these values.
        source: where the values stand.
        values: (family, rank) → value; rank None where there is none or it is not told.
    """

    title: str
    base_model: str
    data_words: tuple[str, ...]
    metric: str
    examples: int
    rerun_spread: float | None
    basis: Basis
    source: str
    values: Mapping[tuple[Family, int | None], float]

    @property
    def spread(self) -> float:
        """A lead up to this says nothing: that of re-runs, or else what the test set blurs.

        The second is the 95% margin of a difference of two shares from as many independent
        examples each, at the middle of the values; for a score between 0 and 1 it is the upper
        limit.
        """
        if self.rerun_spread is not None:
            return self.rerun_spread
        middle = sum(self.values.values()) / len(self.values)
        return 1.96 * math.sqrt(2 * middle * (1 - middle) / self.examples)


PUBLISHED: tuple[PublishedStudy, ...] = (
    PublishedStudy(
        title="MetaMathQA",
        base_model="meta-llama/Llama-3.2-3B",
        data_words=("metamath",),
        metric="GSM8K test accuracy",
        examples=1319,
        rerun_spread=0.028,
        basis="measured",
        source="huggingface/peft@5d602fd method_comparison/MetaMathQA: one L40S, 5,000 steps of 4",
        values={
            ("rsLoRA", 64): 0.513,
            ("LoRA", 32): 0.478,
            ("LoRA", 64): 0.474,
            ("full", None): 0.472,
            ("DoRA", 32): 0.469,
        },
    ),
    PublishedStudy(
        title="AG News",
        base_model="Qwen/Qwen2.5-7B-Instruct",
        data_words=("ag_news", "agnews"),
        metric="test accuracy",
        examples=7600,
        rerun_spread=None,
        basis="measured",
        source="document 004: one DGX Spark, 120,000 rows, 1 epoch, batch 8 × 2",
        values={("LoRA", None): 0.9545, ("full", None): 0.9518, ("QLoRA", None): 0.9514},
    ),
    PublishedStudy(
        title="Elle briefings",
        base_model="Qwen/Qwen2.5-72B-Instruct",
        data_words=("elle cic full", "latticeforge_briefing"),
        metric="overall score",
        examples=500,
        rerun_spread=None,
        basis="assumed",
        source="document 000: expected values, not measured; 10,000 rows",
        values={
            ("LoRA", 32): 0.846,
            ("QLoRA", 64): 0.842,
            ("DoRA stack", 128): 0.928,
            ("GaLore", 128): 0.929,
            ("ReLoRA", 64): 0.909,
            ("full", None): 0.943,
        },
    ),
)


def find_study(base_model: str, data: str) -> PublishedStudy | None:
    """The published comparison on this model and data; None where there is none.

    Args:
        base_model: a hub id; its mirrors and its chat-tuned or plain sibling count as well.
        data: name of the dataset: a hub id, a file name, or what `name_rows` calls it.
    """
    plain_data = data.lower().replace("-", "_")
    for study in PUBLISHED:
        same_data = any(word in plain_data for word in study.data_words)
        if same_data and plain_name(base_model) == plain_name(study.base_model):
            return study
    return None


def look_up(study: PublishedStudy, method: Method) -> tuple[float, bool] | None:
    """The value of a method, and whether its rank is known to be the same; None where absent."""
    if method.objective != "sft":
        return None
    exact = study.values.get((method.family, method.rank))
    if exact is not None:
        return exact, True
    untold = study.values.get((method.family, None))
    return None if untold is None else (untold, False)


def plain_name(base_model: str) -> str:
    """A model's name without the mirror, the packing and whether it was tuned to chat."""
    name = base_model.rstrip("/").rsplit("/", 1)[-1].lower()
    for ending in ("-bnb-4bit", "-unsloth", "-instruct", "-it", "-chat"):
        name = name.removesuffix(ending)
    return name


def is_same_model(one: str, other: str) -> bool:
    """Whether two names mean the same weights, apart from who mirrors them."""
    return one.rsplit("/", 1)[-1].lower() == other.rsplit("/", 1)[-1].lower()
