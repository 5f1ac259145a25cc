"""Run every check, print the table, write docs/verification.md; 1 where one is beyond its limit."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "verification.md"


def quieten() -> None:
    """Keep the libraries' own remarks and progress bars out of the table."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    from transformers.utils import logging

    from luthier.models.quantize import import_bitsandbytes

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    import_bitsandbytes()


def main() -> int:
    quieten()
    import torch

    from luthier.files import write_text
    from verification.report import (
        COLUMNS,
        Result,
        format_line,
        format_page,
        format_summary,
        list_cells,
    )
    from verification.table import CHECKS, NOTES

    torch.set_num_threads(1)  # tiny tensors: a second thread costs more than it gives
    print(format_line(COLUMNS))
    results: list[Result] = []
    for check in CHECKS:
        result = Result(check, check.measure())
        print(format_line(list_cells(result), mark=not result.passes), flush=True)
        results.append(result)
    print(f"\n{format_summary(results)}")
    write_text(PAGE, format_page(results, NOTES))
    return 0 if all(result.passes for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
