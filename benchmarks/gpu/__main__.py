"""One part of what only a GPU can tell: `python -m benchmarks.gpu PART --output DIR`.

    python -m benchmarks.gpu smoke --output docs/results/gpu
    python -m benchmarks.gpu 2                       # by number; `all` for each after the other
    python -m benchmarks.gpu speed --small           # on a processor, in a minute

Each part ends within eight minutes on one H100, prints one JSON object as its last line and
writes it to DIR/PART.json. Started again, it goes on with what is not measured yet.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PARTS = ("smoke", "speed", "plan", "profile", "embedded")
BUDGET_SECONDS = 7.5 * 60
OUTPUT = Path("docs/results/gpu")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("part", help=f"{', '.join(PARTS)}, their number from 1, or all")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes")
    parser.add_argument("--small", action="store_true", help="tiny sizes, also on a processor")
    parser.add_argument("--seconds", type=float, default=BUDGET_SECONDS, help="for each part")
    parser.add_argument("--trace", action="store_true", help="profile: keep whole traces too")
    options = parser.parse_args()
    codes = [run_part(name, options) for name in choose_parts(parser, options.part)]
    return max(codes)


def choose_parts(parser: argparse.ArgumentParser, asked: str) -> tuple[str, ...]:
    numbered = {str(number): name for number, name in enumerate(PARTS, start=1)}
    name = numbered.get(asked, asked)
    if name == "all":
        return PARTS
    if name not in PARTS:
        parser.error(f"no part {asked!r}: choose {', '.join(PARTS)}, 1 to {len(PARTS)} or all")
    return (name,)


def run_part(name: str, options: argparse.Namespace) -> int:
    """Run one part; whatever happens, its JSON says how it ended."""
    from benchmarks.gpu.record import Record, TimeIsUp

    from luthier import device

    kind = device.describe_device().kind
    if kind == "cpu" and not options.small:
        print(f"{name}: no GPU here. Add --small to run it at a tiny size.", file=sys.stderr)
        return 2
    size = "small" if options.small else "full"
    record = Record(
        name,
        options.output,
        size=size,
        budget_seconds=options.seconds,
        keeps_traces=options.trace,
    )
    print(f"{name}: {record.path}", flush=True)
    try:
        importlib.import_module(f"benchmarks.gpu.{name}").run(record)
    except TimeIsUp as error:
        return record.finish(f"time is up: {error}. Start the part again, and it goes on.")
    except KeyboardInterrupt:
        record.finish("interrupted", failed=True)
        return 130
    except Exception as error:
        import traceback

        traceback.print_exc()
        return record.finish(f"{type(error).__name__}: {error}", failed=True)
    return record.finish()


if __name__ == "__main__":
    sys.exit(main())
