"""How well the planner predicts published measurements; writes docs/planner-accuracy.md.

    python benchmarks/planner_accuracy.py

The measurements are read where they lie, `../shared/anchors/measured.csv`, and are no part of this
repository.
"""

from __future__ import annotations

import sys
from pathlib import Path

from planner_memory import describe_memory
from planner_published import describe_published
from planner_rows import MEASURED, read_rows
from planner_time import describe_time

PAGE = Path("docs/planner-accuracy.md")
HEAD = """# How well the planner predicts

Made by `make planner-accuracy` from published measurements: fms-acceleration's benchmark tables
(A100-80GB, 1 to 4 GPUs, 4096 tokens, gradient checkpointing) and PEFT's method comparison (L40S,
short examples, no checkpointing).
"""


def main() -> int:
    if not MEASURED.exists():
        print(f"{MEASURED} is not here: nothing to compare with. {PAGE} stays as it is.")
        return 1
    rows = read_rows()
    parts = [HEAD, describe_memory(rows), "", describe_time(rows), describe_published(), ""]
    page = "\n".join(parts)
    PAGE.write_text(page, encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
