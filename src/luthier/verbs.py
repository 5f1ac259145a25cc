"""Rooms that carry a verb's name, `luthier.train` say, can be called as that verb.

Python binds a package's name in its parent as soon as anything inside it is imported, so the room
would hide the function: the second `luthier.train(...)` would fail.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _CallableRoom(ModuleType):
    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        # The verbs stand above all rooms: they are looked up when called, never imported here.
        api = importlib.import_module("luthier.api")
        return getattr(api, self.__name__.rpartition(".")[2])(*arguments, **keywords)


def make_callable(room: str) -> None:
    """Let the package `room` (its `__name__`) be called as the verb of its name."""
    sys.modules[room].__class__ = _CallableRoom
