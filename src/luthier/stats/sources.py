"""What an argument of `luthier compare` names: an arm, and one evaluation file per seed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import ComparisonError

SEED_PATTERN = re.compile(r"seed[-_]?(\d+)", re.IGNORECASE)

WAYS_TO_NAME_AN_ARM = (
    "Give a JSON lines file, name=file1,file2 (one file per seed), an arm's folder (with "
    "seed-*/eval/) or a run's folder (with eval/)."
)


@dataclass(frozen=True)
class SeedFile:
    """One evaluation file; `seed` is the number in its path (`seed-3` → "3"), else its path."""

    seed: str
    path: Path


@dataclass(frozen=True)
class ArmSource:
    """An arm's name, its evaluation files, and what the reader should know about them."""

    name: str
    files: tuple[SeedFile, ...]
    notes: tuple[str, ...] = ()


def resolve_argument(argument: str, task: str | None) -> ArmSource:
    """Find the evaluation files that `argument` names.

    Raises:
        ComparisonError: nothing there, or several tasks and none chosen.
    """
    if "=" in argument and not Path(argument).exists():
        name, _, listed = argument.partition("=")
        paths = [part.strip() for part in listed.split(",") if part.strip()]
        if not name.strip() or not paths:
            raise ComparisonError(f"{argument}: a name or a path is missing. {WAYS_TO_NAME_AN_ARM}")
        found = [_expand(Path(path), task) for path in paths]
    else:
        name = _default_name(Path(argument))
        found = [_expand(Path(argument), task)]
    files = [path for source, _ in found for path in source]
    notes = tuple(note for _, source_notes in found for note in source_notes)
    return ArmSource(name.strip(), _label_seeds(argument, files), notes)


def _default_name(path: Path) -> str:
    """Name an arm as the study does: the folder above `seed-*`, or above `eval`, or the file."""
    parts = path.absolute().parts
    for position in range(len(parts) - 1, 0, -1):
        if SEED_PATTERN.fullmatch(parts[position]):
            return parts[position - 1]
    if path.is_dir():
        return path.absolute().parent.name if path.name == "eval" else path.absolute().name
    return parts[-3] if len(parts) > 2 and parts[-2] == "eval" else path.stem


def _expand(path: Path, task: str | None) -> tuple[list[Path], tuple[str, ...]]:
    if path.is_file():
        return [path], ()
    if not path.is_dir():
        raise ComparisonError(f"no such file or folder: {path}. {WAYS_TO_NAME_AN_ARM}")
    seed_folders = sorted(entry for entry in path.glob("seed-*") if entry.is_dir())
    if seed_folders:
        folders = [entry / "eval" for entry in seed_folders]
    else:
        folders = [path if path.name == "eval" else path / "eval"]
    files_by_folder = {folder: sorted(folder.glob("*.jsonl")) for folder in folders}
    chosen = _choose_task(path, files_by_folder, task)
    picked = [folder / f"{chosen}.jsonl" for folder in folders]
    present = [file for file in picked if file.is_file()]
    notes = tuple(
        f"{file.parent.parent} has no evaluation of {chosen} and is left out."
        for file in picked
        if file not in present
    )
    return present, notes


def _choose_task(path: Path, files_by_folder: dict[Path, list[Path]], task: str | None) -> str:
    tasks = sorted({file.stem for files in files_by_folder.values() for file in files})
    if not tasks:
        inner = sorted(entry.name for entry in path.iterdir() if _is_arm(entry))
        mend = f"Name an arm in it: {', '.join(inner)}." if inner else WAYS_TO_NAME_AN_ARM
        raise ComparisonError(f"{path}: no evaluation files (eval/*.jsonl) here. {mend}")
    if task is None and len(tasks) > 1:
        raise ComparisonError(
            f"{path}: several tasks were evaluated ({', '.join(tasks)}). Choose one with --task."
        )
    if task is not None and task not in tasks:
        raise ComparisonError(f"{path}: no evaluation of {task}; there are: {', '.join(tasks)}.")
    return task or tasks[0]


def _is_arm(folder: Path) -> bool:
    return folder.is_dir() and ((folder / "eval").is_dir() or any(folder.glob("seed-*")))


def _label_seeds(argument: str, paths: list[Path]) -> tuple[SeedFile, ...]:
    resolved = [path.resolve() for path in paths]
    for position, path in enumerate(resolved):
        if path in resolved[:position]:
            raise ComparisonError(
                f"{argument}: {paths[position]} is named twice. Name each seed's file once."
            )
    numbers = [_find_seed_number(path) for path in paths]
    if None in numbers or len(set(numbers)) < len(numbers):
        return tuple(SeedFile(str(path), path) for path in paths)
    return tuple(SeedFile(str(n), path) for n, path in zip(numbers, paths, strict=True))


def _find_seed_number(path: Path) -> str | None:
    found = SEED_PATTERN.findall(str(path))
    return found[-1] if found else None
