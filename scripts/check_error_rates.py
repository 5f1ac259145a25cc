"""Measure how often `luthier compare` claims a difference that is not there.

    python scripts/check_error_rates.py            # print the tables
    python scripts/check_error_rates.py --write    # and put them into docs/statistics.md

The functions that decide are Luthier's own. About ten minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from null_studies import (
    ALPHA,
    Setting,
    claim_by_mcnemar,
    claim_by_sign_flip,
    measure_claims,
    measure_counts,
    measure_crossed,
)

from luthier.stats.power_seeds import compute_crossed_power

PAGE = Path(__file__).parent.parent / "docs" / "statistics.md"
BEGIN = "<!-- made by scripts/check_error_rates.py: begin -->"
END = "<!-- end -->"
RESAMPLES = 999
SPREADS = (0.0, 0.05, 0.1, 0.3)
SEEDS = ((2, 2), (3, 3), (5, 5), (2, 5), (1, 2), (1, 3), (1, 5))


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    text = "\n\n".join(
        (
            _table_one_seed(chosen.studies),
            _table_counts(chosen.studies),
            _table_shares(),
            _table_seeds(chosen.studies),
            _table_families(chosen.studies),
            _table_limits(chosen.studies),
        )
    )
    if chosen.write:
        page = PAGE.read_text(encoding="utf-8")
        head, rest = page.split(BEGIN)
        _, tail = rest.split(END)
        PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")


def _table_one_seed(studies: int) -> str:
    rows: list[tuple[str, ...]] = []
    for n in (100, 500):
        rates = [
            measure_claims(
                Setting(n, (1, 1), correlation=r, rate=rate),
                claim_by_mcnemar,
                studies,
            )
            for rate, r in ((0.857, 0.5), (0.857, 0.3), (0.857, 0.8))
        ]
        rows.append(("exact McNemar", f"{n}", *map(_share, rates)))
    for n in (10, 50):
        rates = [
            measure_claims(
                Setting(n, (1, 1), correlation=r),
                lambda arms: claim_by_sign_flip(arms, RESAMPLES),
                studies,
            )
            for r in (0.5, 0.3, 0.8)
        ]
        rows.append(("sign-flip permutation", f"{n}", *map(_share, rates)))
    head = ("one seed each", "n", "correlation 0.5", "correlation 0.3", "correlation 0.8")
    return _table(head, rows)


def _table_counts(studies: int) -> str:
    rates = (0.5, 0.65, 0.8, 0.857, 0.9, 0.95)
    rows = [
        (f"{n:,}", *(_share(measure_counts((rate, rate), n, studies)) for rate in rates))
        for n in (20, 50, 100, 240, 250, 500, 7600)
    ]
    return _table(("counts, n a side", *(f"rate {rate:g}" for rate in rates)), rows)


def _table_shares() -> str:
    """Integrated, not drawn: normal scores, and examples whose variance is known."""
    shares = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
    rows = [
        (
            f"{freedom}",
            *(
                _share(compute_crossed_power(0.0, 1 - share, 1e6, share, freedom, ALPHA))
                for share in shares
            ),
        )
        for freedom in (1, 2, 3, 4, 6, 8)
    ]
    return _table(("seeds' df \\ share of variance", *(f"{s:g}" for s in shares)), rows)


def _table_seeds(studies: int) -> str:
    rows: list[tuple[str, ...]] = []
    for kind, n, rate, correlation in (
        ("yes/no", 100, 0.857, 0.5),
        ("yes/no", 500, 0.857, 0.5),
        ("score", 100, None, 0.3),
        ("score", 500, None, 0.8),
    ):
        for seeds in SEEDS:
            shares: list[str] = []
            for spread in SPREADS:
                # A baseline with one seed is the untouched model, which has none to vary by.
                each = (0.0 if seeds[0] == 1 else spread, spread)
                setting = Setting(n, seeds, each, correlation, rate)
                shares.append(_share(measure_crossed(setting, studies)))
            rows.append((kind, f"{n}", f"{correlation:g}", f"{seeds[0]} v {seeds[1]}", *shares))
    head = ("several seeds", "N", "correlation", "seeds", *(f"spread {s:g}" for s in SPREADS))
    return _table(head, rows)


def _table_families(studies: int) -> str:
    rows: list[tuple[str, ...]] = []
    for arms in (3, 5, 8):
        single = Setting(500, (1,) * arms, rate=0.857)
        mcnemar = measure_claims(single, claim_by_mcnemar, studies)
        counts = measure_counts((0.857,) * arms, 500, studies)
        crossed = [
            measure_crossed(Setting(500, (seeds,) * arms, spread, rate=0.857), studies)
            for seeds in (2, 3)
            for spread in (0.05, 0.1, 0.3)
        ]
        rows.append((f"{arms}", _share(mcnemar), _share(counts), *map(_share, crossed)))
    seeds = [f"{s} seeds, spread {d:g}" for s in (2, 3) for d in (0.05, 0.1, 0.3)]
    return _table(("arms (Holm)", "McNemar", "counts", *seeds), rows)


def _table_limits(studies: int) -> str:
    cases = (
        ("3 v 3, one arm's spread 0.15, the other's 0.3", (3, 3), (0.15, 0.3), 0.0),
        ("3 v 3, one arm's spread 0, the other's 0.3", (3, 3), (0.0, 0.3), 0.0),
        ("5 v 5, one arm's spread 0, the other's 0.3", (5, 5), (0.0, 0.3), 0.0),
        ("2 v 5, spread 0.3 with two seeds, 0.15 with five", (2, 5), (0.3, 0.15), 0.0),
        ("5 v 2, spread 0.3 with five seeds, 0.15 with two", (2, 5), (0.15, 0.3), 0.0),
        ("3 v 3, spread 0.3, the arms' seeds correlate 0.5", (3, 3), (0.3, 0.3), 0.5),
    )
    rows = [
        (name, _share(measure_crossed(Setting(500, seeds, spread, 0.5, 0.857, shared), studies)))
        for name, seeds, spread, shared in cases
    ]
    return _table(("where the assumptions fail (N = 500)", "false claims"), rows)


def _share(value: float) -> str:
    return f"{value:.3f}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [
        "| " + " | ".join(names) + " |",
        "|" + "|".join(["---", *["---:"] * (len(names) - 1)]) + "|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    text = "\n".join(lines)
    print(text, end="\n\n", flush=True)
    return text


if __name__ == "__main__":
    main()
