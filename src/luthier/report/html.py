"""`report.html`: one file with everything in it, for a phone, a screen or paper."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from luthier.files import write_text
from luthier.report import costs, headlines
from luthier.report.answer import answer_question, describe_limits
from luthier.report.comparisons import MetricComparison, compare_headlines
from luthier.report.facts import list_differing_settings, list_environment
from luthier.report.palette import VARIABLES, choose_colour
from luthier.report.predictions import format_off, read_predictions
from luthier.report.results import StudyResults, read_study
from luthier.report.sections import build_loss_figure, build_task_sections
from luthier.report.tables import show_mean


def write_report(study_directory: Path) -> Path:
    """Write `report.html` into a study directory and return its path.

    Works on a study in any state; raises DataError where there is no study, OutputError where
    the file cannot be written. The same files give the same bytes.
    """
    path = study_directory / "report.html"
    write_text(path, render_report(read_study(study_directory)))
    return path


def render_report(results: StudyResults) -> str:
    """The page as text; it loads nothing from anywhere."""
    comparisons = compare_headlines(results)
    colours = {entry.name: index for index, entry in enumerate(results.entries)}
    return (
        _build_environment()
        .get_template("report.html.j2")
        .render(
            results=results,
            answers=answer_question(comparisons),
            limits=describe_limits(results, comparisons),
            facts=_count_facts(results, comparisons),
            sections=build_task_sections(results, comparisons, colours),
            losses=build_loss_figure(results, colours),
            costs=[costs.summarise_cost(arm) for arm in results.arms],
            predictions=read_predictions(results),
            settings=list_differing_settings(results),
            environment=list_environment(results),
            colours={name: VARIABLES[choose_colour(index)] for name, index in colours.items()},
            command=f"luthier study run study.yaml --output {shlex.quote(f'runs/{results.name}')}",
        )
    )


def _build_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("luthier.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        seconds=costs.format_seconds,
        count=costs.format_count,
        bytes=costs.format_bytes,
        loss=costs.format_loss,
        share=costs.format_share,
        off=format_off,
        p_value=headlines.format_p,
        breakable=_make_breakable,
    )
    functions: dict[str, Any] = {
        "show_mean": show_mean,
        "show_difference": headlines.format_difference,
    }
    environment.globals.update(functions)
    return environment


def _make_breakable(key: str) -> Markup:
    """Let a long key break after its underscores and dots, as a phone needs."""
    return Markup(re.sub(r"([_.])", r"\1<wbr>", str(escape(key))))


def _count_facts(
    results: StudyResults, comparisons: Sequence[MetricComparison]
) -> list[tuple[str, str]]:
    """The strip of figures under the answer: (label, value)."""
    ended = sum(run.status == "done" for run in results.runs)
    seconds = [run.training["seconds"] for run in results.runs if run.training.get("seconds")]
    examples = {comparison.headline.task: comparison.n for comparison in comparisons}
    facts = [
        ("arms", str(len(results.arms))),
        ("seed" if len(results.seeds) == 1 else "seeds", str(len(results.seeds))),
        ("runs complete", f"{ended} of {len(results.runs)}"),
    ]
    if examples:
        facts.append(("test examples", " / ".join(f"{n:,}" for n in examples.values())))
    if seconds:
        facts.append(("training time", costs.format_seconds(sum(seconds))))
    return facts
