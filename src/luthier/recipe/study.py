"""The study: arms × seeds × tasks over one base recipe, as frozen models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from luthier.recipe.dataset import DatasetSource
from luthier.recipe.kinds import Count, Expects, FileName, Seed, Text, refusal
from luthier.recipe.load import normalised
from luthier.recipe.plan_section import PlanSection
from luthier.recipe.schema import Recipe
from luthier.recipe.yaml_text import dump_yaml

BASE_ARM = "base"

# The tasks that a study can name; `evaluate` holds one file for each.
TASK_NAMES = ("elle", "classification", "perplexity")


def _listed_number(value: Any) -> Any:
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


def _listed_task(value: Any) -> Any:
    items: Any = [value] if isinstance(value, str | Mapping) else value
    if not isinstance(items, list | tuple):
        return value
    return [{"task": item} if isinstance(item, str) else item for item in items]


def _path_as_source(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _check_seeds(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(value)) < len(value):
        raise refusal("a seed is listed twice.", "List each seed once.")
    return value


def _check_task_name(value: str) -> str:
    if value not in TASK_NAMES:
        names = ", ".join(f"`{name}`" for name in TASK_NAMES)
        raise refusal(f"there is no task `{value}`.", f"Write one of {names}.")
    return value


Source = Annotated[
    DatasetSource,
    BeforeValidator(_path_as_source),
    Expects("a path, or a mapping like an entry of `datasets`"),
]
Seeds = Annotated[
    tuple[Seed, ...],
    BeforeValidator(_listed_number),
    AfterValidator(_check_seeds),
    Field(min_length=1),
    Expects("a list of whole numbers, at least one"),
]
Settings = Annotated[Mapping[str, Any], Expects("a mapping of recipe keys")]


class Sample(BaseModel):
    """How many examples a study draws from its data, and by which seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: Count | None = Field(
        default=None, description="Examples to train on; all that are left over when absent."
    )
    test: Count | None = Field(default=None, description="Examples to score on.")
    seed: Seed = Field(default=0, description="Seed of the draw; the same for all arms.")


class TaskSpec(BaseModel):
    """One evaluation task of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Annotated[Text, AfterValidator(_check_task_name)] = Field(
        description="Which task: `elle`, `classification` or `perplexity`."
    )
    name: FileName = Field(
        default_factory=lambda data: data["task"],
        description="Name of its results and their files; the task's when absent.",
    )
    data: Source | None = Field(
        default=None, description="Rows to score; the study's test rows when absent."
    )
    limit: Count | None = Field(default=None, description="Score the first rows only.")
    max_new_tokens: Count | None = Field(
        default=None, description="Longest answer, in tokens; the task's own when absent."
    )
    batch_size: Count | None = Field(
        default=None, description="Examples per forward pass; the task's own when absent."
    )


Tasks = Annotated[
    tuple[TaskSpec, ...],
    BeforeValidator(_listed_task),
    Field(min_length=1),
    Expects("a list of tasks, at least one"),
]
Arms = Annotated[
    Mapping[str, Settings], Field(min_length=1), Expects("a mapping of names to recipe keys")
]
Grid = Annotated[
    Mapping[str, Annotated[tuple[Any, ...], Field(min_length=1)]],
    Expects("a mapping of recipe keys to the list of their values"),
]


class Study(BaseModel):
    """A question, and the arms, seeds and tasks that answer it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: FileName = Field(description="Name of the study, and of its folder.")
    question: str = Field(default="", description="What it is to find out, in one sentence.")
    data: Source | None = Field(
        default=None,
        description="A path, or a mapping like an entry of `datasets`: split once into train and "
        "test rows, the same for all arms.",
    )
    sample: Sample = Field(default=Sample(), description="Sizes `train` and `test`, and `seed`.")
    base: Settings = Field(
        default_factory=dict,
        description="The recipe that the arms share: a file, relative to the study's, or the keys "
        "themselves.",
    )
    arms: Arms = Field(
        description="Name → the keys that differ from `base`; `{}` for none, `null` unsets a key. "
        "`after: NAME` trains on from what that arm, listed above, has trained. The untouched "
        "model is always there, as `base`."
    )
    grid: Grid = Field(
        default_factory=dict,
        description="Key → values: every arm is run with every combination, named "
        "`arm-key=value-key=value`. Once loaded it is unfolded into `arms`.",
    )
    seeds: Seeds = Field(default=(42,), description="Every arm is trained once with each.")
    tasks: Tasks = Field(description="What every arm is scored on: names, or mappings.")
    baseline: Text = Field(
        default=BASE_ARM, description="The arm that the others are compared with."
    )
    plan: PlanSection | None = Field(
        default=None,
        description="What is known beforehand for `luthier plan`: machine, amounts, throughput, "
        "expected scores. Training reads none of it.",
    )


class Arm(NamedTuple):
    """One arm.

    Attributes:
        name: its name, which is also its folder's.
        recipe: its whole recipe.
        after: the arm whose result, with the same seed, takes the place of `base_model`.
    """

    name: str
    recipe: Recipe
    after: str | None = None


class LoadedStudy(NamedTuple):
    """A valid study, its arms with the grid unfolded, and what was accepted with a remark."""

    study: Study
    arms: tuple[Arm, ...]
    notes: tuple[str, ...]


def normalised_study(study: Study) -> dict[str, Any]:
    """What differs from the defaults, what is required, the seeds and the baseline."""
    values = study.model_dump(mode="json", exclude_defaults=True)
    if not study.grid:
        values.pop("grid", None)
    # The file is read by people and by the report too: what decides the table is always said.
    values["seeds"] = list(study.seeds)
    values["baseline"] = study.baseline
    for task, item in zip(study.tasks, values["tasks"], strict=True):
        if task.name == task.task:
            item.pop("name", None)
    return values


def dump_study(study: Study) -> str:
    """The normalised study as YAML, its base recipe inline; loading it gives equal arms."""
    return dump_yaml(normalised_study(study))


def differing_settings(arms: Sequence[Arm]) -> dict[str, dict[str, Any]]:
    """The keys in which the arms differ: key → arm's name → value, in the schema's order."""
    dumped = {arm.name: arm.recipe.model_dump(mode="json") for arm in arms}
    differing: dict[str, dict[str, Any]] = {}
    for key in Recipe.model_fields:
        values = {name: settings[key] for name, settings in dumped.items()}
        if any(value != next(iter(values.values())) for value in values.values()):
            differing[key] = values
    return differing


def normalised_arms(arms: Sequence[Arm]) -> dict[str, dict[str, Any]]:
    """Each arm's normalised recipe by its name."""
    return {arm.name: normalised(arm.recipe) for arm in arms}
