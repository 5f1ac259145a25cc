"""What `luthier check` shows: as text for 80 columns, or as JSON."""

from __future__ import annotations

import textwrap
from typing import Any

from luthier.errors import Problem, RecipeError
from luthier.recipe.load import LoadedRecipe, normalised
from luthier.recipe.study import LoadedStudy, differing_settings, normalised_arms, normalised_study
from luthier.recipe.yaml_text import dump_yaml

WIDTH = 80


def render_checked(loaded: LoadedRecipe | LoadedStudy) -> str:
    """The normal form as YAML, then the notes as comments, so that all of it is a valid file."""
    if isinstance(loaded, LoadedStudy):
        text = dump_yaml(normalised_study(loaded.study)) + "\n" + _render_runs(loaded)
    else:
        text = dump_yaml(normalised(loaded.recipe))
    notes = "".join(f"{_wrapped(note, '# note: ', '#       ')}\n" for note in loaded.notes)
    return text + (f"\n{notes}" if notes else "")


def render_mistakes(error: RecipeError) -> str:
    """Every mistake, its line in front, what is wrong and the mend."""
    count = len(error.problems)
    head = f"{error.source}: {count} mistake{'s' if count != 1 else ''}"
    width = max((len(str(p.line)) for p in error.problems if p.line is not None), default=0)
    lines = [_render_problem(problem, width) for problem in error.problems]
    return "\n".join([head, "", *lines]) + "\n"


def checked_as_json(source: str, loaded: LoadedRecipe | LoadedStudy) -> dict[str, Any]:
    """The same for `--json`: what was read in its normal form."""
    head: dict[str, Any] = {"ok": True, "source": source}
    if isinstance(loaded, LoadedStudy):
        body: dict[str, Any] = {
            "kind": "study",
            "study": normalised_study(loaded.study),
            "arms": normalised_arms(loaded.arms),
            "differing_settings": differing_settings(loaded.arms),
        }
    else:
        body = {"kind": "recipe", "recipe": normalised(loaded.recipe)}
    return {**head, **body, "notes": list(loaded.notes)}


def mistakes_as_json(error: RecipeError) -> dict[str, Any]:
    """The same for `--json`: every mistake with key, line, what and mend."""
    problems = [
        {"key": p.key, "line": p.line, "what": p.what.rstrip(":"), "mend": p.mend}
        for p in error.problems
    ]
    return {"ok": False, "source": error.source, "problems": problems}


def _render_runs(loaded: LoadedStudy) -> str:
    arms, seeds, tasks = len(loaded.arms), len(loaded.study.seeds), len(loaded.study.tasks)
    text = (
        f"{arms} arm{_s(arms)} × {seeds} seed{_s(seeds)}: {arms * seeds} run{_s(arms * seeds)}, "
        f"and the untouched model, scored on {tasks} task{_s(tasks)}."
    )
    return f"{_wrapped(text, '# ', '# ')}\n"


def _render_problem(problem: Problem, width: int) -> str:
    place = f"line {problem.line:>{width}}" if problem.line is not None else ""
    head = f"  {place:<{width + 5}}  " if width else "  "
    text = f"{problem.what} {problem.mend}".strip()
    return _wrapped(text, head, " " * len(head))


def _wrapped(text: str, first: str, rest: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _s(count: int) -> str:
    return "" if count == 1 else "s"
