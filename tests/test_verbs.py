"""`luthier.train` and its like stay callable once the rooms of these names are imported."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import luthier
from luthier.errors import LuthierError


@pytest.mark.parametrize("verb", ["train", "evaluate", "report"])
def test_a_verb_can_be_called_after_its_room_was_imported(verb: str, tmp_path: Path) -> None:
    importlib.import_module(f"luthier.{verb}")
    arguments = {
        "train": ({}, tmp_path),
        "evaluate": (tmp_path / "nothing", "no such task"),
        "report": (tmp_path,),
    }[verb]
    keywords = {"output": tmp_path} if verb == "evaluate" else {}
    with pytest.raises(LuthierError):
        getattr(luthier, verb)(*arguments, **keywords)
