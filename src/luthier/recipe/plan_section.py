"""`plan` of a study: what its author knows beforehand about the machine, the rows and the scores.

Training reads none of it. Every key of the machine and of the amounts takes one value for all
arms, or a mapping of an arm's name to its own value.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from luthier.recipe.kinds import FINITE, NUMBER, Count, Expects, Positive, Text, refusal

# The planner has the same words; a test holds both to each other.
ShardingName = Literal["none", "ddp", "zero2", "zero3", "zero3-offload", "fsdp", "fsdp-bf16"]
EngineName = Literal["luthier", "transformers", "accelerated-peft", "fused-loss", "liger"]


def _one_of(words: tuple[str, ...]) -> str:
    return f"one of {', '.join(f'`{word}`' for word in words)}, or a mapping of arms to these"


Number = Annotated[float, FINITE, NUMBER, Expects("a number")]
Dollars = Annotated[
    float, Field(ge=0), FINITE, NUMBER, Expects("an amount of dollars of at least 0")
]

GpuPerArm = Annotated[
    Text | Mapping[str, Text], Expects("a GPU's name, or a mapping of arms to names")
]
CountPerArm = Annotated[
    Count | Mapping[str, Count],
    Expects("a whole number of at least 1, or a mapping of arms to such numbers"),
]
PositivePerArm = Annotated[
    Positive | Mapping[str, Positive],
    Expects("a number above 0, or a mapping of arms to such numbers"),
]
DollarsPerArm = Annotated[
    Dollars | Mapping[str, Dollars],
    Expects("an amount of dollars, or a mapping of arms to amounts"),
]
ShardingPerArm = Annotated[
    ShardingName | Mapping[str, ShardingName], Expects(_one_of(get_args(ShardingName)))
]
EnginePerArm = Annotated[
    EngineName | Mapping[str, EngineName], Expects(_one_of(get_args(EngineName)))
]
ExpectedScores = Annotated[
    Mapping[str, Number | Mapping[str, Number]],
    Field(min_length=1),
    Expects("a mapping of arms to a score, or to a mapping of metrics to scores"),
]


def _listed_count(value: Any) -> Any:
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


class ServingSection(BaseModel):
    """What an answer of the trained model would cost, against one that is bought."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd_per_answer: Dollars | None = Field(
        default=None, description="Cost of one answer of the model served by oneself."
    )
    usd_per_hour: Dollars | None = Field(
        default=None, description="Or the price of the serving machine per hour, all its devices,"
    )
    answers_per_hour: Positive | None = Field(
        default=None, description="and how many answers it gives in one."
    )
    api_usd_per_answer: Dollars | None = Field(
        default=None, description="Price of one answer that is bought."
    )
    answers_per_month: Annotated[
        tuple[Count, ...],
        BeforeValidator(_listed_count),
        Expects("a whole number of at least 1, or a list of them"),
    ] = Field(default=(), description="How many are needed; a list makes one row for each.")

    def find_mistake(self) -> tuple[str, str] | None:
        """What is wrong between these keys and the mend, or None."""
        rates = (self.usd_per_hour, self.answers_per_hour)
        if self.usd_per_answer is not None and rates != (None, None):
            return (
                "`usd_per_answer` and the price of an hour say the same thing twice.",
                "Keep `usd_per_answer`, or `usd_per_hour` with `answers_per_hour`.",
            )
        if (rates[0] is None) != (rates[1] is None):
            missing = "answers_per_hour" if rates[1] is None else "usd_per_hour"
            return f"`{missing}` is missing.", f"Add `{missing}`, or write `usd_per_answer`."
        return None


def _check_serving(value: ServingSection) -> ServingSection:
    mistake = value.find_mistake()
    if mistake is not None:
        raise refusal(*mistake)
    return value


class PlanSection(BaseModel):
    """What is known beforehand; flags of `luthier plan` win over it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: GpuPerArm | None = Field(default=None, description="The device, by its name.")
    gpus: CountPerArm | None = Field(default=None, description="How many of them; 1 when absent.")
    usd_per_hour: DollarsPerArm | None = Field(
        default=None, description="Price of one device for an hour; the table's when absent."
    )
    sharding: ShardingPerArm | None = Field(
        default=None, description="How several devices share the model."
    )
    engine: EnginePerArm | None = Field(
        default=None, description="Whose training loop is planned; `luthier` when absent."
    )
    samples: CountPerArm | None = Field(
        default=None, description="Training examples of an epoch; `sample.train` when absent."
    )
    average_tokens: PositivePerArm | None = Field(
        default=None, description="Tokens of an average example, both answers of a pair together."
    )
    tokens_per_second: PositivePerArm | None = Field(
        default=None, description="Measured training throughput of all devices together."
    )
    hours: PositivePerArm | None = Field(
        default=None, description="Training hours, where they are known and throughput is not."
    )
    expected: ExpectedScores | None = Field(
        default=None,
        description="Scores that are expected: arm → score, or arm → metric → score. `base` is "
        "the untouched model.",
    )
    test_examples: Count | None = Field(
        default=None, description="Examples scored per task; the study's own count when absent."
    )
    serving: Annotated[ServingSection, AfterValidator(_check_serving)] | None = Field(
        default=None, description="What the trained model's answers cost, and bought ones."
    )


class PlanMistake(NamedTuple):
    """One mistake between keys: its path inside `plan`, what is wrong, and the mend."""

    path: tuple[str, ...]
    what: str
    mend: str


def find_plan_mistakes(
    section: PlanSection, arms: Collection[str], base: str
) -> Iterator[PlanMistake]:
    """Arms that the study does not have, and times that are given twice.

    Args:
        section: a valid section.
        arms: the study's arms, its grid unfolded.
        base: the name of the untouched model, which only `expected` may hold.
    """
    for key in PlanSection.model_fields:
        value = getattr(section, key)
        if not isinstance(value, Mapping):
            continue
        names: Mapping[str, Any] = value
        known = [*arms, base] if key == "expected" else list(arms)
        for name in names:
            if name not in known:
                yield PlanMistake((key, name), *_unknown_arm(name, known))
    for name in arms:
        if all(value_for(getattr(section, key), name) for key in ("tokens_per_second", "hours")):
            what = f"arm `{name}` has both `tokens_per_second` and `hours`."
            yield PlanMistake(("hours",), what, "Keep the one that is known.")


def value_for(value: Any, arm: str | None) -> Any:
    """The value that a key has for one arm: its own, the common one, or None."""
    return value.get(arm) if isinstance(value, Mapping) else value


def _unknown_arm(name: str, known: Collection[str]) -> tuple[str, str]:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    if near:
        return f"there is no arm `{name}`:", f"did you mean `{near[0]}`?"
    shown = [f"`{item}`" for item in list(known)[:6]]
    return f"there is no arm `{name}`.", f"Write one of {', '.join(shown)}."
