"""The answer of `luthier power`, in 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from luthier.stats.power import Outlook, PowerReport, Reach
from luthier.stats.power_question import PowerQuestion
from luthier.stats.power_search import MOST_EXAMPLES
from luthier.stats.power_ways import Stated

WIDTH = 80
NAME_WIDTH = 40
CELL_WIDTH = 19


def render_power(report: PowerReport) -> str:
    """Write the report: what is asked, what is found, what a wanted difference needs."""
    question = report.question
    lines = [_describe_question(question), ""]
    lines += _wrap(f"Standard error of {_what(question)}: {_size(question, report.standard_error)}")
    if question.comparisons > 1:
        share = question.alpha / question.comparisons
        lines += _wrap(
            f"{question.arms} arms make {question.comparisons} comparisons with the baseline; "
            f"Holm's first step is at {_percent(question.alpha)} / {question.comparisons} = "
            f"{100 * share:.3g}%"
        )
    if report.seed_spread is not None:
        spread = report.seed_spread
        lines += _wrap(
            f"{question.seeds} seeds an arm; standard deviation from seed to seed: "
            f"{_size(question, spread.value)} ({_basis(spread)})"
        )
    lines += ["", *_build_table(_title(question), report.outlooks, question, _write_detectable)]
    if question.difference is not None:
        wanted = _size(question, question.difference, sign=True)
        lines += ["", *_build_table(f"power at {wanted}", report.outlooks, question, _write_power)]
        lines += ["", *_build_table("examples needed", report.outlooks, question, _write_examples)]
    lines += ["", *(line for note in _notes(report) for line in _wrap(note))]
    return "\n".join(lines)


def _describe_question(question: PowerQuestion) -> str:
    expected = (
        f"right at a rate of {100 * question.rate:.4g}%"
        if question.is_yes_no
        else f"scored {question.rate:.4g} ± {question.sd:.4g} each"
    )
    return f"What {question.n:,} examples can tell, {expected}"


def _title(question: PowerQuestion) -> str:
    unit = ", points" if question.is_yes_no else ""
    return f"smallest gain found ({100 * question.power:.3g}% power{unit})"


def _build_table(
    title: str,
    outlooks: Sequence[Outlook],
    question: PowerQuestion,
    write: Callable[[PowerQuestion, Reach], str],
) -> list[str]:
    corrected = question.comparisons > 1
    heads = ["one comparison", f"first of {question.comparisons} (Holm)"] if corrected else [""]
    lines = [title.ljust(NAME_WIDTH) + "".join(head.rjust(CELL_WIDTH) for head in heads)]
    for outlook in outlooks:
        cells = [write(question, outlook.alone)]
        cells += [write(question, outlook.first)] if corrected else []
        name = f"  {_name(outlook)}".ljust(NAME_WIDTH)
        lines.append(name + "".join(cell.rjust(CELL_WIDTH) for cell in cells))
    return [line.rstrip() for line in lines]


def _name(outlook: Outlook) -> str:
    if outlook.disagreement is not None:
        basis = outlook.disagreement.basis
        return f"paired, {100 * outlook.disagreement.value:.3g}% disagree ({basis})"
    if outlook.correlation is not None:
        correlation = outlook.correlation
        return f"paired, correlation {correlation.value:g} ({correlation.basis})"
    return "unpaired"


def _write_detectable(question: PowerQuestion, reach: Reach) -> str:
    if reach.detectable is None:
        return "none"
    return f"{100 * reach.detectable:.1f}" if question.is_yes_no else f"{reach.detectable:.3g}"


def _write_power(question: PowerQuestion, reach: Reach) -> str:
    assert reach.power is not None
    return _percent(reach.power)


def _write_examples(question: PowerQuestion, reach: Reach) -> str:
    if reach.examples is not None:
        return f"{reach.examples:,}"
    # With one seed nothing but examples stands in the way: the search has ended.
    return "no number" if question.seeds > 1 else f"over {MOST_EXAMPLES:,}"


def _notes(report: PowerReport) -> list[str]:
    notes = [f"Tests: {_tests(report)}"]
    assumed = [o.correlation for o in report.outlooks if o.correlation is not None]
    if any(correlation.basis == "assumed" for correlation in assumed):
        flag = "--disagreement or --correlation" if report.question.is_yes_no else "--correlation"
        notes.append(f"Assumed: {assumed[0].source}. Two finished runs tell: give {flag}.")
    if any(outlook.alone.detectable is None for outlook in report.outlooks):
        notes.append(
            "none: even an arm that has everything right could not be told from the baseline."
        )
    if (report.question.difference is not None and report.question.seeds > 1) and any(
        reach.examples is None for o in report.outlooks for reach in (o.alone, o.first)
    ):
        notes.append(
            "no number: the seeds' own spread hides this difference however many examples there "
            "are. More seeds would help."
        )
    return [*notes, *report.notes]


def _tests(report: PowerReport) -> str:
    named = [f"{outlook.test} ({outlook.way})" for outlook in report.outlooks]
    return ", ".join(dict.fromkeys(named)) + "."


def _what(question: PowerQuestion) -> str:
    return "one run's rate" if question.is_yes_no else "one run's mean"


def _size(question: PowerQuestion, value: float, *, sign: bool = False) -> str:
    plus = "+" if sign and value > 0 else "−" if value < 0 else ""
    if question.is_yes_no:
        return f"{plus}{100 * abs(value):.3g} points"
    return f"{plus}{abs(value):.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%" if share < 0.1 else f"{100 * share:.1f}%"


def _basis(stated: Stated) -> str:
    return f"{stated.basis}: {stated.source}" if stated.source else stated.basis


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH)
