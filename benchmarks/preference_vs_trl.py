"""Preference steps, Luthier and TRL side by side: how long each takes, and whether it is the same.

Four pairs of hh-rlhf a step, on a model of 8M parameters with LoRA. Each peer trains in a process
of its own; steps alternate. The ratio is the median over steps of TRL's seconds ÷ Luthier's on the
same pairs.

    python benchmarks/preference_vs_trl.py [--steps 15] [--warmup 3] [--data test.jsonl.gz]

TRL runs at its defaults: it computes the reference in every step. A second line shows it with
`precompute_ref_log_probs`, which Luthier does by default. The last line is one JSON object.
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

import pair_workload
import workload
from pipe import Worker
from sft_vs_trl import VERSIONS, show_progress, show_wrapped

from luthier import device, provenance

HERE = Path(__file__).parent
HH_RLHF = HERE.parent.parent.joinpath(
    "shared", "data", "hh_rlhf_harmless_test", "harmless-base_test.jsonl.gz"
)
HELD = {"dpo": 4.0, "orpo": 2.5}


@dataclass
class Contestant:
    """One peer at one method, and what was measured of it."""

    method: str
    title: str
    precomputed: bool = False
    settings: dict[str, str] = field(default_factory=dict[str, str])
    reference_seconds: float = 0.0
    peak_memory_bytes: int = 0
    seconds: list[float] = field(default_factory=list[float])
    losses: list[float] = field(default_factory=list[float])

    @property
    def script(self) -> Path:
        return HERE / ("peer_luthier.py" if self.title == "Luthier" else "peer_trl_pairs.py")


def list_contestants() -> list[Contestant]:
    """Luthier stands first in its method: the peers start from the adapter that it writes."""
    return [
        Contestant("dpo", "Luthier"),
        Contestant("dpo", "TRL"),
        Contestant("dpo", "TRL, reference stored", precomputed=True),
        Contestant("orpo", "Luthier"),
        Contestant("orpo", "TRL"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=15, help="measured steps of each peer")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them")
    parser.add_argument("--data", type=Path, default=HH_RLHF, help="hh-rlhf rows, gzipped")
    options = parser.parse_args()
    if not options.data.exists():
        raise SystemExit(f"no file {options.data}: give hh-rlhf rows with --data.")
    steps = options.warmup + options.steps
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as name:
        folder = Path(name)
        parameters = workload.write_model(folder / "model")
        files = pair_workload.write_pairs(folder, steps, options.data)
        describe(options, parameters, files)
        contestants = race(files, folder, options.warmup, steps)
    show_table(contestants)
    show_reference(contestants, steps)
    show_defaults(contestants)
    print(json.dumps(summarise(contestants, steps)))


def describe(options: argparse.Namespace, parameters: int, files: pair_workload.PairFiles) -> None:
    pairs = pair_workload.read_pairs(files.tokens)
    versions = provenance.list_versions(VERSIONS)
    tokens = pair_workload.count_tokens(pairs)
    steps = len(pairs) // pair_workload.PAIRS_PER_STEP
    print("Preference steps, Luthier beside TRL")
    print(f"  {provenance.describe_environment()['hardware']['device_name']}")
    show_wrapped([f"{name} {version}" for name, version in versions.items()])
    print(f"  Qwen2, {parameters / 1e6:.2f}M parameters, random; {device.usual_precision()}")
    print(f"  LoRA rank {workload.RANK} on every linear layer of a block")
    print(f"  {pair_workload.PAIRS_PER_STEP} pairs of hh-rlhf a step, in tokens:")
    print(
        f"  {tokens['padded'] / steps:.0f} padded (TRL), {tokens['apart'] / steps:.0f} without "
        f"padding, {tokens['shared'] / steps:.0f} with one prompt a pair (Luthier)"
    )
    print(f"  {options.steps} measured steps after {options.warmup} of warm-up, alternating")


def race(files: pair_workload.PairFiles, folder: Path, warmup: int, steps: int) -> list[Contestant]:
    """Start every peer and let them step in turn."""
    contestants = list_contestants()
    with ExitStack() as stack:
        workers: list[tuple[Contestant, Worker]] = []
        for number, contestant in enumerate(contestants):
            job = build_job(contestant, files, folder, steps)
            worker = Worker(contestant.script, job, folder / f"worker-{number}")
            stack.callback(worker.close)
            workers.append((contestant, worker))
        for contestant, worker in workers:
            contestant.settings = worker.ask("build")["settings"]
        for step in range(steps):
            show_progress(step, steps)
            for contestant, worker in workers if step % 2 == 0 else reversed(workers):
                answer = worker.ask("step")
                contestant.losses.append(answer["loss"])
                if step >= warmup:
                    contestant.seconds.append(answer["seconds"])
        show_progress(steps, steps)
        for contestant, worker in workers:
            answer = worker.ask("stop")
            contestant.peak_memory_bytes = answer["memory_bytes"]
            contestant.reference_seconds = answer.get("reference_seconds", 0.0)
    return contestants


def build_job(
    contestant: Contestant, files: pair_workload.PairFiles, folder: Path, steps: int
) -> dict[str, Any]:
    return {
        "model": str(folder / "model"),
        "rows": str(files.tokens),
        "texts": str(files.texts),
        "adapter": str(folder / f"{contestant.method}-start"),
        "output": str(folder / f"{contestant.method}-output"),
        "changes": {**pair_workload.CHANGES, "rl": contestant.method},
        "method": contestant.method,
        "precomputed": contestant.precomputed,
        "steps": steps,
    }


def compute_ratios(peer: Contestant, own: Contestant) -> list[float]:
    """Seconds of the peer ÷ Luthier's, step by step on the same pairs."""
    return [a / b for a, b in zip(peer.seconds, own.seconds, strict=True)]


def find_own(contestants: list[Contestant], method: str) -> Contestant:
    return next(c for c in contestants if (c.method, c.title) == (method, "Luthier"))


def find_loss_difference(peer: Contestant, own: Contestant) -> float:
    """The largest |difference| of a step's loss, warm-up too."""
    return max(abs(a - b) for a, b in zip(peer.losses, own.losses, strict=True))


def compute_ratio_with_reference(contestants: list[Contestant], steps: int) -> float:
    """TRL's step ÷ Luthier's and its part of the reference computed beforehand, at one epoch."""
    own = find_own(contestants, "dpo")
    peer = next(c for c in contestants if (c.method, c.title) == ("dpo", "TRL"))
    return statistics.median(peer.seconds) / (
        statistics.median(own.seconds) + own.reference_seconds / steps
    )


def show_table(contestants: list[Contestant]) -> None:
    print(f"\n  {'':6}{'':23}{'s/step':>8}{'peak MB':>9}  TRL ÷ Luthier    loss differs by")
    for c in contestants:
        own = find_own(contestants, c.method)
        line = (
            f"  {c.method if c is own else '':6}{c.title:23}{statistics.median(c.seconds):8.3f}"
            f"{c.peak_memory_bytes / 1e6:9.0f}"
        )
        if c is not own:
            ratios = compute_ratios(c, own)
            spread = ""
            if len(ratios) > 1:
                low, _, high = statistics.quantiles(ratios, n=4)
                spread = f" ({low:.2f}–{high:.2f})"
            ratio = f"{statistics.median(ratios):.2f}{spread}"
            line += f"  {ratio:17}{find_loss_difference(c, own):.0e}"
        print(line)
    print("  Brackets hold the middle half of the steps' ratios. Memory is the process's peak,")
    print("  libraries included, on a CPU, and the allocated peak on a GPU.")


def show_reference(contestants: list[Contestant], steps: int) -> None:
    seconds = find_own(contestants, "dpo").reference_seconds / steps
    ratio = compute_ratio_with_reference(contestants, steps)
    print(f"\n  Luthier's reference, computed beforehand: {seconds:.3f} s for the pairs of a step.")
    print(f"  With it counted, at one epoch and nothing stored: {ratio:.2f}")


def show_defaults(contestants: list[Contestant]) -> None:
    """TRL's own settings of this run, as its trainers state them."""
    print("\nTRL's settings (but for rate, batch, order and precision its defaults)")
    for c in contestants:
        if c.title == "TRL":
            show_wrapped([c.method, *(f"{name}={value}" for name, value in c.settings.items())])


def summarise(contestants: list[Contestant], steps: int) -> dict[str, Any]:
    """The JSON line: ratios and whether they are as held, loss differences, seconds, memory."""
    summary: dict[str, Any] = {}
    for c in contestants:
        own = find_own(contestants, c.method)
        if c is not own:
            ratio = statistics.median(compute_ratios(c, own))
            name = f"{c.method}/{c.title}"
            summary[name] = {
                "ratio": round(ratio, 3),
                "max_loss_difference": find_loss_difference(c, own),
            }
            if c.title == "TRL":
                summary[name]["held"] = HELD[c.method]
    ratio = compute_ratio_with_reference(contestants, steps)
    summary["ratio_dpo_with_reference"] = round(ratio, 3)
    for key, values in (
        ("seconds", {f"{c.method}/{c.title}": statistics.median(c.seconds) for c in contestants}),
        ("peak_memory_bytes", {f"{c.method}/{c.title}": c.peak_memory_bytes for c in contestants}),
    ):
        summary[key] = {name: round(value, 4) for name, value in values.items()}
    return summary


if __name__ == "__main__":
    main()
