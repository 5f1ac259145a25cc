from __future__ import annotations

from pathlib import Path

from luthier.report import read_study, render_markdown


def test_markdown_holds_every_arm_its_verdict_and_what_the_numbers_cannot_show(
    study_directory: Path,
) -> None:
    text = render_markdown(read_study(study_directory))
    assert text.startswith("## coins & co\n")
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    for table in tables:
        lines = table.splitlines()
        assert {line.count("|") for line in lines} == {lines[0].count("|")}
    accuracy = next(table for table in tables if table.startswith("| accuracy"))
    assert [line.split(" | ")[0] for line in accuracy.splitlines()[2:]] == [
        "| base",
        "| full",
        "| <script>",
    ]
    assert "with a probability of 80%" in text
