"""Unfold `optim_args` and `optim_target_modules` into the keys of the chosen optimizer.

Both are the Hugging Face Trainer's; there, `optim_args: "rank=128, scale=0.25"` reaches whatever
optimizer is named. They are read when the optimizer is known, so that an arm may change either.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from luthier.errors import Problem, RecipeError
from luthier.recipe.dialect import UNFOLDED
from luthier.recipe.layer import Layer
from luthier.recipe.resolve import projection_family
from luthier.recipe.schema import Recipe
from luthier.recipe.yaml_text import parse_yaml

_ALL_LINEAR = ("all-linear", "all_linear")
_PATTERN = re.compile(r"[*+?^$|()\\\[\]{}]")
# Names that the Trainer's AdamW takes there, and which key sets the same here.
_OF_ADAM: Mapping[str, str] = {
    "betas": "adam_beta1",
    "eps": "adam_epsilon",
    "lr": "learning_rate",
    "weight_decay": "weight_decay",
}


class Unfolded(NamedTuple):
    """The layer without those two keys, what was wrong in them, what there is to note.

    `answered` holds the keys whose value was not taken over because of a mistake.
    """

    layer: Layer
    problems: list[Problem]
    notes: list[str]
    answered: frozenset[str]


def unfold_optim_args(layer: Layer) -> Unfolded:
    """Take the two keys out of a recipe's whole layer and set what they mean."""
    if not any(key in layer.values for key in UNFOLDED):
        return Unfolded(layer, [], [], frozenset())
    work = _Work(layer.copy())
    arguments = work.layer.values.pop("optim_args", None)
    targets = work.layer.values.pop("optim_target_modules", None)
    if arguments not in (None, ""):
        work.take_arguments(arguments)
    if targets not in (None, "", []):
        work.take_targets(targets)
    return Unfolded(work.layer, work.problems, work.notes, frozenset(work.answered))


class _Work:
    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.answered: set[str] = set()
        optimizer = layer.values.get("optimizer")
        self.optimizer = optimizer or Recipe.model_fields["optimizer"].default
        self.family = projection_family(str(self.optimizer))

    def take_arguments(self, value: Any) -> None:
        if not self._projects("optim_args"):
            return
        arguments = _pairs(value) if isinstance(value, str) else value
        if not isinstance(arguments, dict):
            what = "`optim_args` is neither `name=value, …` nor a mapping."
            self._add("optim_args", what, 'Write `optim_args: "rank=128, scale=0.25"`.')
            return
        for name, item in arguments.items():
            key = f"{self.family}_{name}"
            if key in Recipe.model_fields and name != "target_modules":
                self._set("optim_args", f"`optim_args: {name}`", key, item)
            else:
                self._unknown(str(name))

    def take_targets(self, value: Any) -> None:
        if not self._projects("optim_target_modules"):
            return
        key = f"{self.family}_target_modules"
        if value in _ALL_LINEAR or value is True:
            self.notes.append(
                f"`optim_target_modules` means every linear layer, as no `{key}` does too."
            )
            return
        names = [value] if isinstance(value, str) else value
        patterns = [name for name in names if _PATTERN.search(str(name))] if names else []
        if patterns:
            what = f"`optim_target_modules` has a pattern, `{patterns[0]}`."
            self._add("optim_target_modules", what, "Write names of layers: `[q_proj, v_proj]`.")
            return
        self._set("optim_target_modules", "`optim_target_modules`", key, value)

    def _projects(self, source: str) -> bool:
        if self.family is None:
            what = f"`{source}` has no effect with `optimizer: {self.optimizer}`."
            self._add(source, what, "Remove it, or write `optimizer: galore_adamw`.")
        return self.family is not None

    def _set(self, source: str, written: str, key: str, value: Any) -> None:
        if self.layer.values.get(key) is not None:
            what = f"{written} and `{key}` are both given."
            self._add(source, what, "Keep one; in an arm, set the other to null.")
            return
        self.layer.values[key] = value
        self.layer.places[(key,)] = self.layer.place((source,))
        self.notes.append(f"{written} is now `{key}`.")

    def _unknown(self, name: str) -> None:
        known = [
            key.removeprefix(f"{self.family}_")
            for key in Recipe.model_fields
            if key.startswith(f"{self.family}_")
        ]
        what = f"`optim_args` has an unknown name `{name}`"
        if name in _OF_ADAM:
            self._add("optim_args", f"{what}.", f"Write `{_OF_ADAM[name]}` in the recipe.")
            return
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        if near:
            self._add("optim_args", f"{what}:", f"did you mean `{near[0]}`?")
        else:
            listed = ", ".join(f"`{item}`" for item in known)
            self._add("optim_args", f"{what}.", f"Names are {listed}.")

    def _add(self, key: str, what: str, mend: str) -> None:
        self.problems.append(self.layer.problem((key,), what, mend))
        # What could have been set here must not be found missing as well.
        self.answered.add(f"{self.family}_rank" if self.family else "optimizer")


def _pairs(text: str) -> dict[str, Any] | None:
    """`a=1, b=x` as a mapping; None where a part has no `=`."""
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            return None
        found[name.strip()] = _value(value.strip())
    return found


def _value(text: str) -> Any:
    try:
        return parse_yaml(text, "optim_args").value
    except RecipeError:
        return text
