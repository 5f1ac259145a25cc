"""Numbers of a model's config.json by their keys; a missing or odd one is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from luthier.errors import PlanError


class ConfigKeys(NamedTuple):
    """A config.json, and whose it is.

    Attributes:
        model: the model's name, for messages.
        values: the file's content.
    """

    model: str
    values: Mapping[str, Any]

    def whole(self, *keys: str, default: int | None = None) -> int:
        """The positive whole number under the first of `keys` that is there and not null.

        Raises:
            PlanError: none of the keys is there and no default, or it holds something else.
        """
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise PlanError(
                    f"config.json of {self.model}: {key} is {value!r}, not a positive whole number."
                )
            return value
        if default is not None:
            return default
        raise PlanError(
            f"config.json of {self.model} lacks {' or '.join(keys)}. "
            "Give a complete one with --model-config FILE."
        )

    def flag(self, key: str, default: bool) -> bool:
        """The truth value under `key`.

        Raises:
            PlanError: it holds something else.
        """
        value = self.values.get(key, default)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise PlanError(f"config.json of {self.model}: {key} is {value!r}, not true or false.")
        return value

    def refuse(self, key: str, why: str) -> PlanError:
        """The error for a value that these facts cannot express."""
        return PlanError(
            f"config.json of {self.model}: {key} is {self.values.get(key)!r}; {why} "
            "No facts are worked out from it."
        )


def parse_object(text: str, where: str) -> Mapping[str, Any]:
    """The JSON object in `text`.

    Raises:
        PlanError: it is not valid JSON or no object; names `where` it is from.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise PlanError(f"{where} is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise PlanError(f"{where} holds no JSON object.")
    return cast(dict[str, Any], value)
