"""A comparison as a table and sentences that fit 80 columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from luthier.stats.comparison import Comparison, PairResult

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

VERDICT_STYLES = {"better": "green", "worse": "red", "no detectable difference": "dim"}


def render_comparison(comparison: Comparison) -> RenderableType:
    """Build what `luthier compare` prints: the table, what it means, and what to mind."""
    from rich.console import Group  # rich is only needed once something is printed
    from rich.text import Text

    lines = [Text(line) for line in describe_comparison(comparison)]
    return Group(_build_table(comparison), Text(""), *lines)


def describe_comparison(comparison: Comparison) -> list[str]:
    """Say in plain sentences what the table means and what it leaves open."""
    lines = [_describe_detectable(comparison)]
    if len(comparison.pairs) > 1:
        lines.append(f"p is Holm-corrected over {len(comparison.pairs)} comparisons.")
    if any(_interval_disagrees(pair) for pair in comparison.pairs):
        lines.append(
            "The verdict follows p (corrected, where several arms are compared); an interval "
            "stands for its pair alone. Close to the line, as here, the two can disagree."
        )
    lines.append(f"Test: {'; '.join(dict.fromkeys(map(_describe_test, comparison.pairs)))}.")
    if comparison.direction == "lower":
        lines.append(f"Lower {comparison.metric} is better.")
    return [*lines, *comparison.notes]


def _build_table(comparison: Comparison) -> Table:
    from rich import box
    from rich.table import Table

    write = _choose_format(comparison)
    confidence = f"{100 * (1 - comparison.alpha):g}%"
    corrected = len(comparison.pairs) > 1
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"{comparison.metric}, against {comparison.baseline}",
        title_justify="left",
        title_style="bold",
        padding=(0, 1, 0, 0),
    )
    table.add_column("arm", overflow="fold", max_width=20)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("mean", justify="right", no_wrap=True)
    table.add_column("change", justify="right", no_wrap=True)
    table.add_column(f"{confidence} interval", no_wrap=True)
    table.add_column("p (Holm)" if corrected else "p", justify="right", no_wrap=True)
    table.add_column("verdict", min_width=13)
    first = comparison.pairs[0]
    table.add_row(comparison.baseline, "", write(first.baseline_mean), "", "", "", "baseline")
    for pair in comparison.pairs:
        table.add_row(
            pair.arm,
            str(pair.n),
            write(pair.mean),
            _with_sign(pair.difference, write),
            f"{_with_sign(pair.interval.low, write)} to {_with_sign(pair.interval.high, write)}",
            _write_p(pair.p_holm),
            pair.verdict,
            style=VERDICT_STYLES[pair.verdict],
        )
    return table


def _choose_format(comparison: Comparison) -> Callable[[float], str]:
    """Return how values are written: shares as percentages, others to four digits."""
    if comparison.kind == "yes/no":
        decimals = 2 if max(pair.n for pair in comparison.pairs) >= 5_000 else 1
        return lambda share: f"{100 * share:.{decimals}f}"
    sizes = [abs(value) for pair in comparison.pairs for value in (pair.mean, pair.baseline_mean)]
    largest = max(sizes)
    decimals = 1 if largest >= 1_000 else 2 if largest >= 100 else 3 if largest >= 10 else 4
    if largest >= 1e6 or 0 < largest < 1e-3:
        return lambda value: f"{value:.2e}"
    return lambda value: f"{value:.{decimals}f}"


def _with_sign(value: float, write: Callable[[float], str]) -> str:
    sign = "−" if value < 0 else "+"
    return f"{sign}{write(abs(value))}"


def _write_p(p_value: float) -> str:
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _describe_detectable(comparison: Comparison) -> str:
    write = _choose_format(comparison)
    unit = " points" if comparison.kind == "yes/no" else ""
    sizes = sorted({pair.n for pair in comparison.pairs})
    examples = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    values = sorted(write(pair.detectable_difference) for pair in comparison.pairs)
    values.sort(key=float)
    span = values[0] if values[0] == values[-1] else f"{values[0]} to {values[-1]}"
    by_arm = "" if values[0] == values[-1] else " (by arm)"
    kind = "shared examples" if comparison.paired else "examples a side"
    return (
        f"With {examples} {kind}, differences under about {span}{unit}{by_arm} could not be told "
        "apart here (80% power)."
    )


def _describe_test(pair: PairResult) -> str:
    if pair.test == pair.interval_method:
        return pair.test
    return f"{pair.test}, interval: {pair.interval_method}"


def _interval_disagrees(pair: PairResult) -> bool:
    excludes_zero = pair.interval.low > 0 or pair.interval.high < 0
    return excludes_zero == (pair.verdict == "no detectable difference")
