from __future__ import annotations

import re
from pathlib import Path

from luthier.report.confusion import draw_confusion
from luthier.report.costs import format_bytes, format_count, format_seconds, format_share
from luthier.report.headlines import format_difference, format_p, format_value
from luthier.report.losses import draw_losses
from luthier.report.palette import VARIABLES
from luthier.report.results import ArmResults, LossPoint, RunResults
from luthier.report.svg import shorten


def make_arm(name: str, *seeds: list[float]) -> ArmResults:
    runs = tuple(
        RunResults(
            arm=name,
            seed=seed,
            status="running",
            directory=Path(),
            losses=tuple(LossPoint(step, loss) for step, loss in enumerate(losses)),
        )
        for seed, losses in enumerate(seeds)
    )
    return ArmResults(name, {}, runs)


def count_curves(svg: str) -> list[str]:
    return re.findall(r"stroke: var\(--series-\d\)[^\"]*stroke-width: ([\d.]+)", svg)


def test_each_seed_is_a_thin_line_and_their_mean_a_thick_one() -> None:
    losses = [3.0 - 0.1 * step for step in range(20)]
    svg = draw_losses([make_arm("a", losses, losses)], {"a": 1}, 860, "x")
    assert count_curves(svg) == ["0.8", "0.8", "2"]


def test_seeds_of_different_length_are_averaged_where_both_are() -> None:
    svg = draw_losses([make_arm("a", [3.0, 2.0, 1.0], [1.0, 0.0])], {"a": 1}, 312, "x")
    thick = re.findall(r"<path d=\"([^\"]*)\"[^>]*stroke-width: 2;", svg)
    assert [path.count("L") for path in thick] == [1]


def test_figures_take_their_colours_from_the_page() -> None:
    svg = draw_confusion("m", ["a", "b"], [[1, 2], [3, 4]], "x")
    assert not any(stand_in in svg for stand_in in VARIABLES)
    assert "var(--heat)" in svg
    assert re.search(r"#[0-9a-f]{6}\b", svg) is None


def test_labels_are_text_and_never_mathematics_or_markup() -> None:
    svg = draw_confusion('"><b>', ["$a$", "</svg>"], [[1, 0], [0, 1]], "x")
    assert 'aria-label="Confusion matrix of &quot;&gt;&lt;b&gt;."' in svg
    assert ">$a$</text>" in svg
    assert ">&lt;/svg&gt;</text>" in svg
    assert svg.count("</svg>") == 1


def test_many_classes_make_a_wider_figure_instead_of_smaller_letters() -> None:
    labels = [f"class {number}" for number in range(30)]
    svg = draw_confusion("m", labels, [[0] * 30 for _ in labels], "x")
    width = re.search(r'width="([\d.]+)"', svg)
    assert width is not None
    assert float(width[1]) > 30 * 34


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw_confusion("m", ["a"], [[1]], "x")
    assert dict(matplotlib.rcParams) == before


def test_numbers_are_shown_as_readers_meet_them() -> None:
    assert format_value(0.9125, "percent") == "91.2%"
    assert format_value(0.8716, "number") == "0.872"
    assert format_value(23.44, "number") == "23.4"
    assert format_difference(-0.0321, "percent") == "−3.2 points"
    assert format_difference(0.0321, "number") == "+0.032"
    assert format_p(0.0004) == "<0.001"
    assert format_p(0.0412) == "0.041"
    assert format_seconds(4.25) == "4.2 s"
    assert format_seconds(59.7) == "1 min 00 s"
    assert format_seconds(3725) == "1 h 02 min"
    assert format_count(999.9) == "1k"
    assert format_count(7612345) == "7.61M"
    assert format_bytes(1.5 * 2**30) == "1.50 GiB"
    assert format_share(0.0321) == "3.2%"
    assert shorten("abcdefghij", 7) == "abcd…ij"
