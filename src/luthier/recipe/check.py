"""From a translated layer to a recipe, or to all of its mistakes at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from luthier.errors import Problem
from luthier.recipe.dataset import LOCATION_KEYS, DatasetSource, InstructFormat
from luthier.recipe.kinds import choices_of, phrase_of
from luthier.recipe.layer import KeyPath, Layer, key_of
from luthier.recipe.notes import notes_of
from luthier.recipe.optim_args import unfold_optim_args
from luthier.recipe.rules import find_mistakes, find_source_mistakes
from luthier.recipe.schema import Recipe
from luthier.recipe.translate import SOURCE_LISTS

Model = TypeVar("Model", bound=BaseModel)

# What to write where a key is missing or its value is wrong, beyond what its kind says.
MENDS: Mapping[str, str] = {
    "base_model": "Write `base_model: embedded`, a hub id or a folder.",
    "datasets": "Write `datasets:` and below it `  - path: FILE`.",
    "test_datasets": "Write `test_datasets:` and below it `  - path: FILE`.",
    "fp16": "float16 training is refused: use `bf16: true`.",
    "neftune_noise_alpha": "Usual: 5; leave it out to turn it off.",
    "max_steps": "Leave it out to train `num_epochs`.",
    "conversation": "Use `chat_template: chatml`, or leave it out.",
}

# Stand-ins for what is missing or wrong, so that the rules between the other keys are judged too.
_RECIPE_STANDINS: Mapping[str, Any] = {
    "base_model": "embedded",
    "datasets": (DatasetSource(path="missing"),),
    "learning_rate": 1.0,
}


class Fields(NamedTuple, Generic[Model]):
    """A model checked field by field.

    Attributes:
        model: the model; where fields are wrong, with stand-ins or defaults in their place.
        problems: one for each wrong or missing field.
        invalid: the names of those fields.
    """

    model: Model
    problems: list[Problem]
    invalid: frozenset[str]


class Checked(NamedTuple):
    """A recipe, or None and its mistakes, and what there is to note."""

    recipe: Recipe | None
    problems: list[Problem]
    notes: list[str]


def check_recipe(
    layer: Layer,
    answered: frozenset[str] = frozenset(),
    *,
    study_data: Mapping[str, Any] | None = None,
) -> Checked:
    """Check a translated layer whole.

    Args:
        layer: only keys of the schema; `null` means absent.
        answered: keys that already have a problem.
        study_data: in a study, what its `data` says; None for a recipe that stands alone.
    """
    unfolded = unfold_optim_args(layer)
    layer, answered = unfolded.layer, answered | unfolded.answered
    values = {key: value for key, value in layer.items() if value is not None}
    given = frozenset(values)
    problems, notes = list(unfolded.problems), list(unfolded.notes)
    unsound: set[str] = set()
    if study_data is not None and "datasets" not in values and "datasets" not in answered:
        values["datasets"] = [{}]
    for key in SOURCE_LISTS:
        if not isinstance(values.get(key), list):
            continue
        sources: list[DatasetSource] = []
        for index, item in enumerate(values[key]):
            source = check_source(layer, (key, index), item, study_data=study_data)
            problems += source.problems
            notes += source.notes
            if source.source is not None:
                sources.append(source.source)
            if source.source is None or study_data == {}:
                unsound.add(key)
        if sources or not values[key]:
            values[key] = sources
        else:
            del values[key]
            answered |= {key}
    fields = check_fields(Recipe, values, layer, (), answered, _RECIPE_STANDINS)
    problems += fields.problems
    for mistake in find_mistakes(fields.model, given, fields.invalid | answered | unsound):
        path = mistake.path or (mistake.key,)
        problems.append(layer.problem(path, mistake.what, mistake.mend))
    notes += notes_of(fields.model)
    recipe = None if problems or answered else fields.model
    return Checked(recipe, problems, list(dict.fromkeys(notes)))


class CheckedSource(NamedTuple):
    """A dataset, or None and its mistakes, and what there is to note."""

    source: DatasetSource | None
    problems: list[Problem]
    notes: list[str]


def check_source(
    layer: Layer,
    path: KeyPath,
    value: Any,
    *,
    study_data: Mapping[str, Any] | None = None,
) -> CheckedSource:
    """Check one dataset that stands at `path` of `layer`, in today's names."""
    if not isinstance(value, dict):
        what = f"`{key_of(path)}` is {shown(value)}; it must be a mapping."
        return CheckedSource(None, [layer.problem(path, what, "Write `- path: FILE`.")], [])
    values = {key: item for key, item in value.items() if item is not None}
    from_study = False
    if study_data is not None and not {"path", "generate"} & values.keys():
        from_study = True
        reading = {k: v for k, v in study_data.items() if k not in LOCATION_KEYS}
        values = {**reading, **values}
    problems: list[Problem] = []
    answered: frozenset[str] = frozenset()
    if isinstance(values.get("type"), dict):
        form = check_fields(InstructFormat, values["type"], layer, (*path, "type"))
        values["type"] = form.model
        problems += form.problems
    fields = check_fields(DatasetSource, values, layer, path, answered)
    problems += fields.problems
    found = find_source_mistakes(
        fields.model, frozenset(value), path_needed=not from_study and "path" not in fields.invalid
    )
    for mistake in found:
        if mistake.key not in fields.invalid:
            where = (*path, mistake.key) if mistake.key else path
            problems.append(layer.problem(where, mistake.what, mistake.mend))
    notes: list[str] = []
    if fields.model.conversation:
        notes.append(f"`conversation: {fields.model.conversation}`: the chat template decides.")
    if fields.model.type == "sharegpt":
        notes.append("`type: sharegpt` is read as messages.")
    return CheckedSource(None if problems else fields.model, problems, notes)


def check_fields(
    model: type[Model],
    values: Mapping[str, Any],
    layer: Layer,
    path: KeyPath,
    answered: frozenset[str] = frozenset(),
    standins: Mapping[str, Any] | None = None,
) -> Fields[Model]:
    """Check each field of `model` by itself; keys in `answered` have their problem already."""
    try:
        return Fields(model.model_validate(values), [], frozenset())
    except ValidationError as error:
        details = error.errors(include_url=False)
    invalid: dict[str, ErrorDetails] = {}
    for detail in details:
        if detail["loc"] and detail["type"] != "default_factory_not_called":
            invalid.setdefault(str(detail["loc"][0]), detail)
    problems = [
        _field_problem(model, name, detail, values, layer, path)
        for name, detail in invalid.items()
        if name not in answered
    ]
    kept = {key: value for key, value in values.items() if key not in invalid}
    missing = {key: item for key, item in (standins or {}).items() if key not in kept}
    partial = model.model_validate({**missing, **kept})
    return Fields(partial, problems, frozenset(invalid))


def shown(value: Any) -> str:
    """A value as a mistake quotes it, at most 60 characters."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        value = f"[{', '.join(str(item) for item in value)}]"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text.replace("\n", " ")
    return f"`{text if len(text) <= 60 else text[:57] + '…'}`"


def _field_problem(
    model: type[BaseModel],
    name: str,
    detail: ErrorDetails,
    values: Mapping[str, Any],
    layer: Layer,
    path: KeyPath,
) -> Problem:
    where = (*path, name)
    key = key_of(where)
    if detail["type"] == "missing":
        return layer.problem(where, f"`{key}` is missing.", _missing_mend(name, values))
    if detail["type"] == "refused":
        context = detail.get("ctx", {})
        return layer.problem(where, f"`{key}`: {context['what']}", str(context["mend"]))
    if name not in model.model_fields:
        return layer.problem(where, f"unknown key `{key}`.", "Remove it.")
    field = model.model_fields[name]
    what = f"`{key}` is {shown(values.get(name))}; it must be {phrase_of(field)}."
    if values.get(name) in ([], ()):
        what = f"`{key}` is empty; it must be {phrase_of(field)}."
    near = difflib.get_close_matches(str(values.get(name)), choices_of(field), n=1, cutoff=0.6)
    mend = f"Did you mean `{near[0]}`?" if near else MENDS.get(name, "")
    return layer.problem(where, what, mend)


def _missing_mend(name: str, values: Mapping[str, Any]) -> str:
    if name == "learning_rate":
        if values.get("adapter"):
            return "Usual for LoRA: `learning_rate: 2e-4`."
        return "Usual for full fine-tuning: `learning_rate: 1e-5`."
    return MENDS.get(name, f"Write `{name}: …`.")
