"""Luthier and TRL side by side: how long the same optimizer step takes, and whether it is the same.

Each peer trains in a process of its own, with its own allocator and its own peak of memory. Steps
alternate, so that a change of the machine's mood meets both; the order turns round every other
time. The ratio is the median over steps of TRL's seconds ÷ Luthier's on the same batch.

    python benchmarks/sft_vs_trl.py [--steps 15] [--warmup 3] [--data train.jsonl]

TRL runs at its defaults, which recompute activations (gradient checkpointing); a second line
shows it without. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import textwrap
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import workload
from pipe import Worker

from luthier import device, provenance

HERE = Path(__file__).parent
GSM8K = HERE.parent.parent / "shared" / "data" / "gsm8k" / "train.jsonl"
SCRIPTS = {"Luthier": HERE / "peer_luthier.py", "TRL": HERE / "peer_trl.py"}
VERSIONS = ("luthier", "torch", "transformers", "trl", "peft", "accelerate")


@dataclass
class Contestant:
    """One peer in one setting, and what was measured of it."""

    setting: str
    peer: str
    checkpointing: bool = False
    settings: dict[str, str] = field(default_factory=dict[str, str])
    memory_at_start_bytes: int = 0
    peak_memory_bytes: int = 0
    seconds: list[float] = field(default_factory=list[float])
    losses: list[float] = field(default_factory=list[float])
    tokens_per_second: float = 0.0

    @property
    def title(self) -> str:
        return (
            "TRL, no checkpointing" if self.peer == "TRL" and not self.checkpointing else self.peer
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=15, help="measured steps of each peer")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them")
    parser.add_argument("--data", type=Path, default=GSM8K, help="rows with question and answer")
    options = parser.parse_args()
    steps = options.warmup + options.steps
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as name:
        folder = Path(name)
        parameters = workload.write_model(folder / "model")
        describe(options, parameters)
        uniform = workload.write_uniform_rows(folder / "uniform.npz", steps)
        print(f"\n{workload.BATCH_SIZE} × {workload.UNIFORM_TOKENS} tokens a step", flush=True)
        contestants = race(["lora", "dora"], uniform, folder, options)
        show_defaults(contestants)
        if options.data.exists():
            mixed = workload.write_mixed_rows(folder / "mixed.npz", steps, options.data)
            print(f"\n{workload.BATCH_SIZE} rows of mixed length a step", flush=True)
            contestants += race(["lora_mixed"], mixed, folder, options)
        else:
            print(f"\nlora_mixed is left out: no file {options.data}. Give one with --data.")
    summary = summarise(contestants)
    show_summary(summary)
    print(json.dumps(summary))


def describe(options: argparse.Namespace, parameters: int) -> None:
    environment = provenance.describe_environment()
    hardware = environment["hardware"]
    versions = provenance.list_versions(VERSIONS)
    print("Supervised fine-tuning, Luthier beside TRL")
    print(f"  {hardware['device_name']}")
    show_wrapped([f"{name} {version}" for name, version in versions.items()])
    print(f"  Qwen2, {parameters / 1e6:.2f}M parameters, random; {device.usual_precision()}")
    print(f"  LoRA rank {workload.RANK} on every linear layer of a block")
    print(f"  {options.steps} measured steps after {options.warmup} of warm-up, alternating")


def race(
    names: list[str], rows: workload.Rows, folder: Path, options: argparse.Namespace
) -> list[Contestant]:
    """Start every peer of these settings and let them step in turn."""
    steps = options.warmup + options.steps
    contestants = [
        contestant
        for name in names
        for contestant in (
            Contestant(name, "Luthier"),
            Contestant(name, "TRL", checkpointing=True),
            Contestant(name, "TRL"),
        )
    ]
    with ExitStack() as stack:
        pairs: list[tuple[Contestant, Worker]] = []
        for number, contestant in enumerate(contestants):
            place = folder / f"{contestant.setting}-{number}"
            worker = Worker(
                SCRIPTS[contestant.peer], build_job(contestant, rows, folder, steps), place
            )
            stack.callback(worker.close)
            pairs.append((contestant, worker))
        # Luthier stands first in its setting: the peers start from the adapter that it writes.
        for contestant, worker in pairs:
            ready = worker.ask("build")
            contestant.settings = ready["settings"]
            contestant.memory_at_start_bytes = ready["memory_bytes"]
        for step in range(steps):
            show_progress(step, steps)
            for contestant, worker in pairs if step % 2 == 0 else reversed(pairs):
                answer = worker.ask("step")
                contestant.losses.append(answer["loss"])
                if step >= options.warmup:
                    contestant.seconds.append(answer["seconds"])
        show_progress(steps, steps)
        for contestant, worker in pairs:
            contestant.peak_memory_bytes = worker.ask("stop")["memory_bytes"]
    measured_tokens = sum(rows.tokens_per_step[options.warmup :])
    for contestant in contestants:
        contestant.tokens_per_second = measured_tokens / sum(contestant.seconds)
    show_table(contestants)
    return contestants


def build_job(
    contestant: Contestant, rows: workload.Rows, folder: Path, steps: int
) -> dict[str, Any]:
    return {
        "model": str(folder / "model"),
        "rows": str(rows.file),
        "adapter": str(folder / f"{contestant.setting}-start"),
        "output": str(folder / f"{contestant.setting}-output"),
        "dora": contestant.setting == "dora",
        "changes": {"peft_use_dora": contestant.setting == "dora"},
        "checkpointing": contestant.checkpointing,
        "steps": steps,
    }


def compute_ratios(slower: Contestant, faster: Contestant) -> list[float]:
    """Seconds of one ÷ seconds of the other, step by step on the same batch."""
    return [a / b for a, b in zip(slower.seconds, faster.seconds, strict=True)]


def summarise(contestants: list[Contestant]) -> dict[str, Any]:
    """The JSON line: ratios, DoRA's price, the largest difference of a loss, speed and memory."""
    found = {(c.setting, c.title): c for c in contestants}
    summary: dict[str, Any] = {}
    for ending, title in (("", "TRL"), ("_no_checkpointing", "TRL, no checkpointing")):
        for setting in ("lora", "dora", "lora_mixed"):
            peer, own = found.get((setting, title)), found.get((setting, "Luthier"))
            ratio = statistics.median(compute_ratios(peer, own)) if peer and own else None
            summary[f"ratio_{setting}{ending}"] = ratio and round(ratio, 3)
        if not ending:
            price = compute_ratios(found["dora", "Luthier"], found["lora", "Luthier"])
            summary["dora_over_lora"] = round(statistics.median(price), 3)
            summary["max_loss_difference"] = find_loss_difference(contestants)
    for key in ("tokens_per_second", "peak_memory_bytes"):
        summary[key] = {f"{c.setting}/{c.title}": round(getattr(c, key)) for c in contestants}
    return summary


def find_loss_difference(contestants: list[Contestant]) -> float:
    """The largest |TRL's loss − Luthier's| over all steps, warm-up too, and all settings."""
    own = {c.setting: c.losses for c in contestants if c.peer == "Luthier"}
    return max(
        abs(a - b) for c in contestants for a, b in zip(c.losses, own[c.setting], strict=True)
    )


def show_progress(step: int, steps: int) -> None:
    if sys.stderr.isatty():
        print(f"\r  step {step}/{steps}", end="\n" if step == steps else "", file=sys.stderr)


def show_table(contestants: list[Contestant]) -> None:
    print(f"  {'':11}{'':22}{'s/step':>8}{'tokens/s':>10}{'peak MB':>9}  TRL ÷ Luthier")
    own = {c.setting: c for c in contestants if c.peer == "Luthier"}
    for c in contestants:
        name = c.setting if c.peer == "Luthier" else ""
        line = (
            f"  {name:11}{c.title:22}{statistics.median(c.seconds):8.3f}"
            f"{c.tokens_per_second:10.0f}{c.peak_memory_bytes / 1e6:9.0f}"
        )
        if c.peer != "Luthier":
            ratios = compute_ratios(c, own[c.setting])
            line += f"  {statistics.median(ratios):.2f}"
            if len(ratios) > 1:
                low, _, high = statistics.quantiles(ratios, n=4)
                line += f" ({low:.2f}–{high:.2f})"
        print(line)
    for setting, luthier in own.items():
        extra = (luthier.peak_memory_bytes - luthier.memory_at_start_bytes) / 1e6
        others = ", ".join(
            f"{(c.peak_memory_bytes - c.memory_at_start_bytes) / 1e6:.0f} ({c.title})"
            for c in contestants
            if c.setting == setting and c.peer != "Luthier"
        )
        print(f"  {setting}: MB above the start: {extra:.0f} (Luthier), {others}")
        print(
            f"  {setting}: loss {luthier.losses[0]:.5f} at first, {luthier.losses[-1]:.5f} at last"
        )


def show_defaults(contestants: list[Contestant]) -> None:
    """TRL's own settings of this run, as its trainer states them."""
    settings = next(c.settings for c in contestants if c.peer == "TRL" and c.checkpointing)
    print("\nTRL's settings (but for rate, batch, order and precision its defaults)")
    show_wrapped([f"{name}={value}" for name, value in settings.items()])


def show_wrapped(parts: list[str]) -> None:
    text = textwrap.wrap(", ".join(parts), 78, break_on_hyphens=False, break_long_words=False)
    print("\n".join(f"  {line}" for line in text))


def show_summary(summary: dict[str, Any]) -> None:
    print(f"\n  DoRA ÷ LoRA, Luthier's own step: {summary['dora_over_lora']:.2f}")
    print(f"  Largest difference between the losses: {summary['max_loss_difference']:.1e}")
    print("  Brackets hold the middle half of the steps' ratios. Memory is the process's peak,")
    print("  libraries included, on a CPU, and the allocated peak on a GPU.\n")


if __name__ == "__main__":
    main()
