"""Lists of messages in the shapes that data has: roles, contents and weights under many names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from luthier.data.examples import Message
from luthier.data.rows import Row, describe

# The names that data uses for a role; a recipe's `roles` come first.
ROLE_NAMES: dict[str, tuple[str, ...]] = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "model", "bot", "chatgpt", "function_call"),
    "tool": ("tool", "function", "observation", "function_response", "tool_response"),
}
_ROLE_FIELDS = ("role", "from")
_CONTENT_FIELDS = ("content", "value")
_WEIGHT_FIELDS = ("weight", "loss_weight")


class MessageReading(NamedTuple):
    """How a message is read: the part of a recipe's dataset that concerns messages.

    Attributes:
        properties: which field of a message is its "role" and which its "content".
        roles: role → the names that the data uses for it.
        roles_to_train: the roles whose turns carry the loss.
    """

    properties: Mapping[str, str] = {}
    roles: Mapping[str, tuple[str, ...]] = {}
    roles_to_train: tuple[str, ...] = ("assistant",)


def read_messages(values: object, row: Row, column: str, how: MessageReading) -> list[Message]:
    """The messages of a list such as [{"role", "content"}] or [{"from", "value"}].

    An empty system message is left out. A message whose `weight` is 0 does not carry the loss.

    Raises:
        DataError: not a list, a message without role or content, an unknown role, a part that is
            not text.
    """
    if not isinstance(values, (list, tuple)) or not values:
        raise row.error(f"`{column}` must be a list of messages, found {describe(values)}.")
    messages: list[Message] = []
    for number, value in enumerate(cast(list[object], values), start=1):
        place = f"message {number} of `{column}`"
        if not isinstance(value, dict):
            raise row.error(f"{place} must be a mapping, found {describe(value)}.")
        message = _read_message(cast(dict[str, Any], value), row, place, how)
        if message.content.strip() or message.role not in ("system", "tool"):
            messages.append(message)
    return messages


def _read_message(value: dict[str, Any], row: Row, place: str, how: MessageReading) -> Message:
    name = _first_field(value, row, place, how.properties.get("role"), _ROLE_FIELDS, "role")
    role = _read_role(name, row, place, how.roles)
    if value.get("tool_calls"):
        raise row.error(
            f"{place} has `tool_calls`, which are not trained on. Write the call as its content."
        )
    field = how.properties.get("content")
    found = _first_field(value, row, place, field, _CONTENT_FIELDS, "content")
    content = _read_content(found, row, place)
    if not content.strip() and role in ("user", "assistant"):
        raise row.error(f"{place} ({role}) is empty. Fill it, or remove the row.")
    trained = role in how.roles_to_train and _read_weight(value, row, place)
    return Message(role, content, trained)


def _first_field(
    value: dict[str, Any],
    row: Row,
    place: str,
    named: str | None,
    usual: tuple[str, ...],
    purpose: str,
) -> Any:
    for field in (named,) if named else usual:
        if field in value:
            return value[field]
    wanted = f"`{named}`" if named else " or ".join(f"`{field}`" for field in usual)
    there = ", ".join(f"`{field}`" for field in value) or "nothing"
    raise row.error(
        f"{place} has no {wanted}; it has {there}. Name its {purpose} under "
        "`message_property_mappings`."
    )


def _read_role(name: object, row: Row, place: str, roles: Mapping[str, tuple[str, ...]]) -> str:
    for table in (roles, ROLE_NAMES):
        for role, names in table.items():
            if name == role or name in names:
                return role
    known = ", ".join(name for names in ROLE_NAMES.values() for name in names)
    raise row.error(
        f"{place} has the unknown role {describe(name)}. Known are {known}; name others under "
        "`roles`."
    )


def _read_content(content: object, row: Row, place: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise row.error(f"the content of {place} must be text, found {describe(content)}.")
    return "".join(_read_part(part, row, place) for part in cast(list[object], content))


def _read_part(part: object, row: Row, place: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        fields = cast(dict[str, Any], part)
        text = fields.get("text", fields.get("value"))
        if fields.get("type", "text") == "text" and isinstance(text, str):
            return text
        raise row.error(
            f"{place} has a part of type {describe(fields.get('type'))}: only text is read."
        )
    raise row.error(f"{place} has a part that is no mapping: {describe(part)}.")


def _read_weight(value: dict[str, Any], row: Row, place: str) -> bool:
    for field in _WEIGHT_FIELDS:
        weight = value.get(field)
        if weight is not None:
            if weight not in (0, 1):
                raise row.error(f"{place} has the {field} {describe(weight)}: write 0 or 1.")
            return bool(weight)
    return True
