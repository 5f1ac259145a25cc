"""One verb of Luthier in a process of its own, so that its peak of memory is its own.

    python -m benchmarks.gpu.alone calibrate RECIPE STEPS
    python -m benchmarks.gpu.alone train RECIPE OUTPUT

`train` leaves `reserved.json` beside the run: the most bytes that PyTorch kept on the device.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.gpu.child import measure_peaks

from luthier import api

RESERVED = "reserved.json"


def main() -> None:
    verb, recipe, more = sys.argv[1:]
    if verb == "calibrate":
        api.calibrate(recipe, int(more))
        return
    api.train(recipe, more)
    (Path(more) / RESERVED).write_text(json.dumps(measure_peaks()), encoding="utf-8")


if __name__ == "__main__":
    main()
