"""What several commands share: their options, and how they print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key; dots reach inside."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Scale = Annotated[
    str | None, typer.Option("--scale", metavar="NAME", help="One of the study's `scales`.")
]
Skip = Annotated[bool, typer.Option("--skip-bad-rows", help="Leave out and count bad rows.")]
Trust = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let a model's own code run, with the key.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
MaybeOutput = Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write.")]


def print_json(value: Any) -> None:
    """One JSON value on standard output; a number that is none is a bug, not `NaN`."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
