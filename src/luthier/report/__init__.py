"""Reports: what the files of a study directory say, as tables, figures and one HTML file."""

from __future__ import annotations

from luthier.report.html import write_report
from luthier.report.markdown import render_markdown
from luthier.report.results import StudyResults, read_study
from luthier.report.tables import render_terminal_table, write_results_csv
from luthier.verbs import make_callable

__all__ = [
    "StudyResults",
    "read_study",
    "render_markdown",
    "render_terminal_table",
    "write_report",
    "write_results_csv",
]

make_callable(__name__)
