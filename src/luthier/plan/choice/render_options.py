"""The choice under a budget and the two-stage proposal as text of 80 columns."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence

from luthier.plan.choice.advice import Change
from luthier.plan.choice.options import Option, name_machine
from luthier.plan.choice.two_stage import WANTED_SEEDS, PilotArm, TwoStage
from luthier.plan.figure import Figure

WIDTH = 80
# What a share of a run is called, so that a pilot reads as a sentence.
_SHARE_NAMES = {3: "a third", 4: "a quarter", 5: "a fifth", 8: "an eighth", 10: "a tenth"}


def render_options(options: Sequence[Option], *, every: bool = False) -> str:
    """The Pareto-optimal rows, the user's own recipe, and what became of the others.

    Of each method the cheapest and the fastest machine and one between them are listed; of the
    user's own at least the cheapest.

    Args:
        options: as `list_options` returns them.
        every: list all rows, also those that do not fit.
    """
    feasible = [row for row in options if row.feasible]
    if not options:
        return "No device to choose from: none of them has a price. Give --usd-per-hour."
    shown = list(options) if every else _choose_shown(options)
    lines = [f"The choice: {len(feasible)} of {len(options)} rows are feasible"]
    if shown:
        lines += ["", *_table(shown)]
    lines += ["", *_notes(options, shown, every)]
    return "\n".join(lines)


def render_two_stage(plan: TwoStage | None, budget_usd: float) -> str:
    """The proposal, or why there is none."""
    if plan is None:
        return "\n".join(
            _wrap(
                f"No two stages within {_dollars(budget_usd)}: two pilot arms of a twentieth and "
                "one full run cost more, or nothing that fits has a price."
            )
        )
    lines = [_heading(plan), "", *_stage_one(plan), "", *_stage_two(plan), ""]
    for note in _two_stage_notes(plan):
        lines += _wrap(note)
    return "\n".join(lines)


def render_changes(changes: Sequence[Change]) -> str:
    """The changes that make a run fit, one after another; empty without any."""
    if not changes:
        return ""
    if changes[0].fits == "no":
        head = "No change makes it fit. The nearest:"
    else:
        head = "What makes it fit, the cheapest first:"
    lines = [head]
    for number, change in enumerate(changes, start=1):
        after = f"{show(change.memory_gib_after, 1)} GiB, {_FITS[change.fits]}"
        lines += _wrap(f"{number}. {change.text}", hanging=5)
        lines += _wrap(f"{after}. {_sentence(change.what_it_costs)}", indent=5)
    return "\n".join(lines)


_FITS = {"yes": "fits", "tight": "tight", "no": "does not fit"}


def show(figure: Figure, decimals: int) -> str:
    """A number; `~` before one that is assumed."""
    mark = "~" if figure.basis == "assumed" else ""
    return f"{mark}{figure.value:,.{decimals}f}"


def _choose_shown(options: Sequence[Option]) -> list[Option]:
    """Of each method's Pareto-optimal rows the ends and the middle; one of the user's own."""
    shown: list[Option] = []
    for title in dict.fromkeys(row.title for row in options):
        of_method = [row for row in options if row.title == title]
        rows = [row for row in of_method if row.pareto]
        if not rows and not of_method[0].candidate.changes:
            rows = of_method[:1]
        priced = [row for row in rows if row.estimate.usd is not None]
        unpriced = [row for row in rows if row.estimate.usd is None]
        shown += [
            priced[place] for place in sorted({0, len(priced) // 2, len(priced) - 1}) if priced
        ]
        shown += unpriced[:1]
    return shown


def _table(rows: Sequence[Option]) -> Iterator[str]:
    cells = [_cells(row) for row in rows]
    head = ("", "method", "machine", "hours", "$", "GiB", "expected", "")
    widths = [max(len(line[column]) for line in (head, *cells)) for column in range(len(head))]
    last: str | None = None
    for line, row in itertools.zip_longest((head, *cells), (None, *rows)):
        assert line is not None
        mark, method, machine, *numbers, obstacle = line
        again = row is not None and row.title == last
        last = row.title if row is not None else None
        parts = [
            mark.ljust(widths[0]),
            ("" if again else method).ljust(widths[1]),
            machine.ljust(widths[2]),
            *(text.rjust(width) for text, width in zip(numbers, widths[3:], strict=False)),
            obstacle,
        ]
        yield _fit_width(" ".join(parts[:3]) + "  " + "  ".join(parts[3:]))


def _cells(row: Option) -> tuple[str, ...]:
    taken = row.estimate
    hours = taken.train_hours._replace(value=taken.hours)
    return (
        "*" if row.pareto else " ",
        row.title,
        name_machine(row.machine),
        show(hours, 1 if taken.hours >= 10 else 2),
        show(taken.usd, 2) if taken.usd is not None else "–",
        show(taken.allocated_gib, 1),
        show(row.quality.value, 3) if row.quality is not None else "–",
        row.obstacle or ("tight" if taken.fits == "tight" else ""),
    )


def _notes(options: Sequence[Option], shown: Sequence[Option], every: bool) -> Iterator[str]:
    beaten = sum(row.feasible and not row.pareto for row in options)
    optimal = sum(row.pareto for row in options)
    if optimal:
        yield from _wrap("* No other row is as fast, as cheap and as good.")
    hidden = optimal - sum(row.pareto for row in shown)
    if hidden:
        yield from _wrap(f"{hidden} more such rows lie between those of a method.")
    if beaten:
        yield from _wrap(f"{beaten} rows are feasible and beaten.")
    for obstacle, rows in _count_obstacles(options):
        yield from _wrap(f"{rows} rows fail on {obstacle}.")
    if any("~" in cell for row in shown for cell in _cells(row)):
        yield from _wrap("~ rests on an assumption; other figures are computed or measured.")
    yield from _note_qualities(options)


def _count_obstacles(options: Sequence[Option]) -> list[tuple[str, int]]:
    obstacles = [row.obstacle for row in options if row.obstacle]
    return [(name, obstacles.count(name)) for name in dict.fromkeys(obstacles)]


def _note_qualities(options: Sequence[Option]) -> Iterator[str]:
    """Each scale of the expected scores once: what it is, where from, what a lead on it means."""
    known = [row.quality for row in options if row.quality is not None]
    for scale in dict.fromkeys(quality.scale for quality in known):
        of_scale = [quality for quality in known if quality.scale == scale]
        source = " and ".join(dict.fromkeys(quality.source for quality in of_scale))
        spread = max(quality.spread for quality in of_scale)
        blur = (
            f" Leads up to {spread:.3f} say nothing and are not ranked."
            if spread > 0
            else " How far re-runs differ is not known."
        )
        yield from _wrap(f"Expected is {scale} ({source}).{blur}")
    for caveat in dict.fromkeys(row.quality.caveat for row in options if row.quality):
        titles = [row.title for row in options if row.quality and row.quality.caveat == caveat]
        if caveat:
            yield from _wrap(f"Expected of {', '.join(dict.fromkeys(titles))}: {caveat}.")
    unknown = list(dict.fromkeys(row.title for row in options if row.quality is None))
    if unknown and known:
        yield from _wrap(
            f"No result is known for {', '.join(unknown)} on this model and data: not guessed, and "
            "not ranked against the others."
        )
    elif unknown:
        yield from _wrap(
            "No result is known for this model and data, so quality is not guessed: methods are "
            "not ranked against one another, only machines."
        )


def _heading(plan: TwoStage) -> str:
    deadline = "" if plan.deadline_hours is None else f" and {plan.deadline_hours:g} hours"
    return f"Two stages within {_dollars(plan.budget_usd)}{deadline}"


def _dollars(budget_usd: float) -> str:
    """A whole number as it was given, cents where there are some."""
    return f"${budget_usd:,.0f}" if budget_usd == round(budget_usd) else f"${budget_usd:,.2f}"


def _stage_one(plan: TwoStage) -> Iterator[str]:
    title = f"1. Pilot: {len(plan.arms)} arms, one seed, {_name_share(plan.share)} of the run"
    yield _line(title, plan.pilot_hours, plan.pilot_usd)
    width = max(len(arm.title) for arm in plan.arms)
    for arm in plan.arms:
        yield _arm_line(arm, plan.share, width)


def _arm_line(arm: PilotArm, share: float, width: int) -> str:
    text = f"     {arm.title.ljust(width)}  {arm.machine}"
    return _line(text, arm.hours(share), arm.usd(share))


def _stage_two(plan: TwoStage) -> Iterator[str]:
    seeds = f"{plan.seeds} seed{'s' if plan.seeds != 1 else ''}"
    yield _line(f"2. The arm that leads, in full, {seeds}: at most", plan.full_hours, plan.full_usd)
    left = plan.budget_usd - plan.pilot_usd - plan.full_usd
    yield _line("   Left over: at least", None, left)


def _line(text: str, hours: float | None, usd: float) -> str:
    shown = "" if hours is None else f"{hours:,.1f} h"
    return f"{_fit_width(text, 58):<58}{shown:>10}{f'${usd:,.2f}':>12}"


def _two_stage_notes(plan: TwoStage) -> Iterator[str]:
    if plan.machines > 1:
        yield (
            f"To end within {plan.deadline_hours:g} hours, {plan.machines} such machines run side "
            "by side."
        )
    for reason in dict.fromkeys(item.reason for item in plan.left_out):
        titles = [item.title for item in plan.left_out if item.reason == reason]
        yield f"Left out, {reason}: {', '.join(titles)}."
    if plan.seeds < WANTED_SEEDS:
        yield (
            "One or two seeds do not show how far seeds differ: the full run's score is one draw."
        )
    if plan.detectable is None:
        yield (
            "How small a lead the pilot can show is not known: that takes the number of test "
            "examples."
        )
        return
    yield (
        f"The pilot finds differences of {show(plan.detectable, 3)} and more "
        f"({plan.detectable.source}; 80% power, one seed). Of arms that lie nearer, take the "
        "cheaper. One seed does not show how far seeds differ."
    )
    if plan.close:
        pairs = "; ".join(f"{better} and {worse}" for better, worse in plan.close)
        yield f"By known scores it cannot tell apart: {pairs}."


def _name_share(share: float) -> str:
    parts = round(1 / share)
    return _SHARE_NAMES.get(parts, f"1/{parts}")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _wrap(text: str, indent: int = 0, hanging: int | None = None) -> list[str]:
    inside = " " * (indent if hanging is None else hanging)
    return textwrap.wrap(
        text, WIDTH, initial_indent=" " * indent, subsequent_indent=inside, break_on_hyphens=False
    )


def _fit_width(text: str, width: int = WIDTH) -> str:
    text = text.rstrip()
    return text if len(text) <= width else f"{text[: width - 1]}…"
