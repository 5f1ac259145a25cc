"""The report's answer in plain sentences, and what a reader must know before trusting it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from luthier.report.comparisons import MetricComparison, Row, list_arms
from luthier.report.headlines import Headline, format_difference, format_value
from luthier.report.results import StudyResults

MOST_NAMES = 4
"""More arms than this with one verdict are counted, not named."""


def answer_question(comparisons: Sequence[MetricComparison]) -> list[str]:
    """One short paragraph a task, about its first headline metric."""
    answers = [_answer(comparison) for comparison in choose_first(comparisons)]
    return answers or ["Nothing has been scored yet, so there is no answer."]


def choose_first(comparisons: Sequence[MetricComparison]) -> list[MetricComparison]:
    """The first headline metric of each task, which the answer is about."""
    first: dict[str, MetricComparison] = {}
    for comparison in comparisons:
        first.setdefault(comparison.headline.task, comparison)
    return list(first.values())


def _answer(comparison: MetricComparison) -> str:
    headline = comparison.headline
    rows = [row for row in list_arms(comparison) if row.pair is not None]
    subject = f"{headline.title} ({headline.task})"
    if not rows:
        return f"On {subject} there is no answer yet. {comparison.missing}".strip()
    if len(rows) == 1:
        return f"{_name_verdict(rows, comparison, subject)}: {_state(rows[0], comparison)}."
    best = max(rows, key=lambda row: _goodness(row, headline))
    return (
        f"{_name_verdict(rows, comparison, subject)}. The best mean is that of {best.arm}: "
        f"{_state(best, comparison)}."
    )


def _name_verdict(rows: Sequence[Row], comparison: MetricComparison, subject: str) -> str:
    """Which arms are better, worse, or not to be told from the baseline."""
    baseline = comparison.baseline
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row.pair.verdict if row.pair else "", []).append(row.arm)
    parts: list[str] = []
    total = len(rows)
    for verdict in ("better", "worse"):
        arms = groups.pop(verdict, [])
        if arms:
            verb = "is" if len(arms) == 1 else "are"
            parts.append(f"{_name_group(arms, total)} {verb} {verdict} than {baseline}")
    for verdict, arms in groups.items():
        verb = "shows" if len(arms) == 1 else "show"
        parts.append(f"{_name_group(arms, total)} {verb} {verdict} from {baseline}")
    return f"On {subject}, {'; '.join(parts)}"


def _state(row: Row, comparison: MetricComparison) -> str:
    """`87.1% against 41.0%, +46.1 points (95% interval +40.0 to +52.1)`."""
    headline = comparison.headline
    pair = row.pair
    assert pair is not None
    baseline = next(other.mean for other in comparison.rows if other.is_baseline)
    against = f" against {format_value(baseline, headline.unit)}" if baseline is not None else ""
    mean = format_value(row.mean, headline.unit) if row.mean is not None else ""
    low, high = (format_difference(v, headline.unit, suffix=False) for v in pair.interval)
    difference = format_difference(pair.difference, headline.unit)
    return f"{mean}{against}, a difference of {difference} (95% interval {low} to {high})"


def _goodness(row: Row, headline: Headline) -> float:
    value = row.mean if row.mean is not None else float("-inf")
    return value if headline.better == "higher" else -value


def describe_limits(results: StudyResults, comparisons: Sequence[MetricComparison]) -> list[str]:
    """What these numbers cannot show: unfinished runs, seeds, examples, the arms compared."""
    limits: list[str] = []
    ended = sum(run.status == "done" for run in results.runs)
    if ended < len(results.runs):
        limits.append(
            f"{ended} of {len(results.runs)} runs are complete. The others are named below; the "
            "numbers may change with them."
        )
    if len(results.seeds) == 1:
        limits.append(
            "One seed was run. The intervals cover the choice of test examples, not the luck of "
            "one training run: another seed may move an arm by more than they say."
        )
    else:
        notes = dict.fromkeys(note for comparison in comparisons for note in comparison.notes)
        limits.append(
            f"{len(results.seeds)} seeds were planned; means are over those that were scored, and "
            "± is the standard deviation between them."
        )
        limits.extend(notes)
    limits.extend(_describe_size(comparison) for comparison in choose_first(comparisons))
    if len(results.arms) > 1:
        limits.append(
            f"Arms are compared with {results.baseline}, not with one another: the order of two "
            "arms in a table is not a tested result."
        )
    return limits


def _describe_size(comparison: MetricComparison) -> str:
    """How many examples there were, and the difference that they can show."""
    headline = comparison.headline
    pairs = [row.pair for row in list_arms(comparison) if row.pair]
    size = f"{headline.task}: each model was scored on {comparison.n:,} examples."
    left_out = max((pair.left_out for pair in pairs), default=0)
    if left_out:
        size += f" Up to {left_out:,} of them were left out, which only one of two models has."
    if pairs:
        detectable = statistics.median(pair.detectable_difference for pair in pairs)
        least = format_difference(detectable, headline.unit).lstrip("+")
        size += (
            f" This study finds a true difference in {headline.title} of {least} with a "
            "probability of 80%; much smaller ones it would mostly miss."
        )
    return size


def _name_group(names: Sequence[str], total: int) -> str:
    """The names of a few arms, or how many they are of all."""
    if len(names) > MOST_NAMES:
        return f"all {total} arms" if len(names) == total else f"{len(names)} of {total} arms"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
