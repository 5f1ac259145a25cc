"""Luthier's techniques beside one another: what a step of each costs, in time and in memory.

Each trains in a process of its own; steps alternate. A ratio is the median, step by step on the
same batch, of the seconds of one ÷ the seconds of the other.

    python benchmarks/techniques.py [--steps 15] [--warmup 3]

GaLore's projector is made anew in its first step, which is warm-up; what is timed lies between two
updates of it. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import workload
from pipe import Worker

from luthier import device, provenance

PEER = Path(__file__).parent / "peer_luthier.py"
FULL: dict[str, Any] = {
    "adapter": None,
    "lora_r": None,
    "lora_alpha": None,
    "lora_target_modules": None,
    "learning_rate": 1e-4,
}
GALORE = {**FULL, "galore_rank": 64, "galore_update_proj_gap": 10_000}
SETTINGS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "DoRA": {"peft_use_dora": True},
    "QLoRA": {"adapter": "qlora", "load_in_4bit": True},
    "full, AdamW": FULL,
    "full, 8-bit AdamW": {**FULL, "optimizer": "adamw_bnb_8bit"},
    "GaLore": {**GALORE, "optimizer": "galore_adamw"},
    "GaLore, 8-bit": {**GALORE, "optimizer": "galore_adamw_8bit"},
    "APOLLO": {
        **FULL,
        "optimizer": "apollo_adamw",
        "apollo_rank": 64,
        "apollo_update_proj_gap": 10_000,
    },
    "Fira": {**FULL, "optimizer": "fira_adamw", "fira_rank": 64, "fira_update_proj_gap": 10_000},
}
# What each is held against, and the most that a step may cost beside it.
HELD = {
    "DoRA": ("LoRA", 1.10),
    "QLoRA": ("LoRA", 1.60),
    "GaLore": ("full, AdamW", 1.25),
    "GaLore, 8-bit": ("full, AdamW", None),
    "full, 8-bit AdamW": ("full, AdamW", None),
    "APOLLO": ("full, AdamW", None),
    "Fira": ("full, AdamW", None),
}


@dataclass
class Measured:
    seconds: list[float] = field(default_factory=list[float])
    peak_memory_bytes: int = 0
    state_bytes: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=15, help="measured steps of each")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as name:
        folder = Path(name)
        parameters = workload.write_model(folder / "model")
        print("Luthier's techniques, step beside step")
        print(f"  {provenance.describe_environment()['hardware']['device_name']}")
        print(
            f"  Qwen2, {parameters / 1e6:.2f}M parameters, random; "
            f"{device.usual_precision()}; {workload.BATCH_SIZE} × "
            f"{workload.UNIFORM_TOKENS} tokens a step"
        )
        measured = race(folder, options.warmup, options.steps)
    show_table(measured)
    print(json.dumps(summarise(measured)))


def race(folder: Path, warmup: int, steps: int) -> dict[str, Measured]:
    """Start every technique and let them step in turn."""
    rows = workload.write_uniform_rows(folder / "rows.npz", warmup + steps)
    measured = {name: Measured() for name in SETTINGS}
    with ExitStack() as stack:
        workers: list[tuple[str, Worker]] = []
        for number, (name, changes) in enumerate(SETTINGS.items()):
            place = folder / f"worker-{number}"
            job = {
                "model": str(folder / "model"),
                "rows": str(rows.file),
                "adapter": str(folder / f"start-{number}"),
                "output": str(folder / f"output-{number}"),
                "changes": changes,
                "steps": warmup + steps,
            }
            worker = Worker(PEER, job, place)
            stack.callback(worker.close)
            workers.append((name, worker))
        for _, worker in workers:
            worker.ask("build")
        for step in range(warmup + steps):
            for name, worker in workers if step % 2 == 0 else reversed(workers):
                seconds = worker.ask("step")["seconds"]
                if step >= warmup:
                    measured[name].seconds.append(seconds)
        for name, worker in workers:
            answer = worker.ask("stop")
            measured[name].peak_memory_bytes = answer["memory_bytes"]
            measured[name].state_bytes = answer["state_bytes"]
    return measured


def compute_ratio(measured: dict[str, Measured], name: str) -> float:
    """Median over the steps of `name`'s seconds ÷ those of what it is held against."""
    peer = measured[HELD[name][0]]
    pairs = zip(measured[name].seconds, peer.seconds, strict=True)
    return statistics.median(own / other for own, other in pairs)


def show_table(measured: dict[str, Measured]) -> None:
    print(f"\n  {'':18}{'s/step':>8}{'peak MB':>9}{'state MB':>10}   beside")
    for name, found in measured.items():
        line = (
            f"  {name:18}{statistics.median(found.seconds):8.3f}"
            f"{found.peak_memory_bytes / 1e6:9.0f}{found.state_bytes / 1e6:10.1f}"
        )
        if name in HELD:
            peer, limit = HELD[name]
            line += f"   {compute_ratio(measured, name):.2f} × {peer}"
            line += f" (held: {limit:.2f})" if limit else ""
        print(line)
    print("\n  State: all that the optimizer keeps, the plain AdamW of embeddings included.")
    print("  Peak: the process's, libraries included, on a CPU; allocated on a GPU.\n")


def summarise(measured: dict[str, Measured]) -> dict[str, Any]:
    return {
        name: {
            "seconds": round(statistics.median(found.seconds), 4),
            "ratio": round(compute_ratio(measured, name), 3) if name in HELD else None,
            "peak_memory_bytes": found.peak_memory_bytes,
            "state_bytes": found.state_bytes,
        }
        for name, found in measured.items()
    }


if __name__ == "__main__":
    main()
