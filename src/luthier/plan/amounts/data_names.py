"""What rows are called, so that results on the same data find one another."""

from __future__ import annotations

from pathlib import PurePosixPath

from luthier.recipe.dataset import DatasetSource


def name_rows(source: DatasetSource | None) -> str:
    """A hub id, a file's name with the folder that holds it, or `elle cic full` where generated.

    Empty where nothing is told: an arm of a study takes the study's rows.
    """
    if source is None:
        return ""
    if source.generate is not None:
        return f"{source.generate} {source.level} {source.style}"
    if source.path is None:
        return ""
    return "/".join(PurePosixPath(source.path.replace("\\", "/")).parts[-2:]).lower()
