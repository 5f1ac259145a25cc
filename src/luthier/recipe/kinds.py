"""The kinds of value that recipe keys take, each with the phrase that a mistake quotes.

The phrase travels with the type, so that the error message, the documentation and the check can
never disagree.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

MAX_NAME_LENGTH = 100
NAME_MEND = "Use letters, digits, `.`, `_`, `-`, `+`, `=`, and start with a letter or digit."
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+=-]*$")


@dataclass(frozen=True)
class Expects:
    """What a value must be, to finish the sentence "it must be …"."""

    phrase: str


def refusal(what: str, mend: str) -> PydanticCustomError:
    """An error with our own words, for a validator to raise."""
    return PydanticCustomError("refused", "{what}", {"what": what, "mend": mend})


def name_mistake(name: str) -> str | None:
    """What is wrong with a name that becomes a file or folder, or None."""
    if len(name) > MAX_NAME_LENGTH:
        return f"`{name[:40]}…` is longer than {MAX_NAME_LENGTH} characters."
    return None if _NAME.match(name) else f"`{name}` cannot name a file or folder."


def _check_file_name(name: str) -> str:
    mistake = name_mistake(name)
    if mistake is not None:
        raise refusal(mistake, NAME_MEND)
    return name


def _refuse_boolean(value: Any) -> Any:
    # pydantic reads `true` as 1; in a recipe it is always a slip.
    if isinstance(value, bool):
        raise ValueError("a number is needed")
    return value


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _text_of_scalar(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _text_values(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {_text_of_scalar(key): _text_of_scalar(item) for key, item in value.items()}


def asks_for_nothing(value: Any) -> bool:
    """Whether a value switches its key off, as `false`, `no`, 0 or an empty value does."""
    if isinstance(value, str):
        return value.strip().lower() in ("", "no", "off", "false", "none")
    return not value


NUMBER = BeforeValidator(_refuse_boolean)
FINITE = Field(allow_inf_nan=False)

Flag = Annotated[bool, Expects("`true` or `false`")]
FlagOrAuto = Annotated[bool | Literal["auto"], Expects("`true`, `false` or `auto`")]
Text = Annotated[str, Field(min_length=1), Expects("text")]
FileName = Annotated[
    str, Field(min_length=1), AfterValidator(_check_file_name), Expects("a name for a file")
]
Count = Annotated[int, Field(ge=1), NUMBER, Expects("a whole number of at least 1")]
CountOrZero = Annotated[int, Field(ge=0), NUMBER, Expects("a whole number of at least 0")]
Seed = Annotated[int, Field(ge=0, lt=2**32), NUMBER, Expects("a whole number from 0 to 4294967295")]
Positive = Annotated[float, Field(gt=0), FINITE, NUMBER, Expects("a number above 0")]
PositiveOrZero = Annotated[float, Field(ge=0), FINITE, NUMBER, Expects("a number of at least 0")]
Share = Annotated[float, Field(ge=0, le=1), NUMBER, Expects("a number from 0 to 1")]
ShareAboveZero = Annotated[
    float, Field(gt=0, le=1), NUMBER, Expects("a number above 0 and of at most 1")
]
ShareBelowHalf = Annotated[
    float, Field(ge=0, lt=0.5), NUMBER, Expects("a number of at least 0 and below 0.5")
]
ShareBelowOne = Annotated[
    float, Field(ge=0, lt=1), NUMBER, Expects("a number of at least 0 and below 1")
]
ShareOrCount = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)],
    NUMBER,
    Expects("a share of at least 0 and below 1, or a whole number of examples"),
]
Names = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_listed),
    Expects("a name or a list of names"),
]
TextMapping = Annotated[
    Mapping[str, str], BeforeValidator(_text_values), Expects("a mapping of text to text")
]


def phrase_of(field: FieldInfo) -> str:
    """The words for what `field` takes, such as "one of `linear`, `cosine`, `constant`"."""
    # An Annotated type that refines another carries both phrases: the last one is its own.
    phrases = [item.phrase for item in field.metadata if isinstance(item, Expects)]
    return phrases[-1] if phrases else _phrase_of_type(field.annotation)


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """The words that `field` takes where it takes a closed set, else nothing."""
    return tuple(value for value in _literals(field.annotation) if isinstance(value, str))


def _phrase_of_type(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        base, *metadata = get_args(annotation)
        phrases = [item.phrase for item in metadata if isinstance(item, Expects)]
        return phrases[-1] if phrases else _phrase_of_type(base)
    if origin is Literal:
        words = [_word(value) for value in get_args(annotation)]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if origin in (Union, types.UnionType):
        members = [item for item in get_args(annotation) if item is not type(None)]
        return " or ".join(_phrase_of_type(item) for item in members)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a mapping"
    return {str: "text", bool: "`true` or `false`"}.get(annotation, "another kind of value")


def _literals(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Literal:
        yield from get_args(annotation)
    elif origin is Annotated:
        yield from _literals(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for item in get_args(annotation):
            yield from _literals(item)


def _word(value: Any) -> str:
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"
