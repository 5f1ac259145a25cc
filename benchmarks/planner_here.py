"""Predicted against measured on this machine: five methods on models of three sizes.

Each case is planned before anything has run, calibrated, planned again, and then trained; every
run is a process of its own, so that its peak memory is its own.

    python benchmarks/planner_here.py --output docs/planner-here.md
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from luthier.plan.amounts.tokens import count_tokens
from luthier.plan.machine.devices import build_machine, describe_this_machine
from luthier.plan.memory.estimate import estimate_memory
from luthier.plan.model.model_config import read_facts
from luthier.plan.time.calibration import STORE_VARIABLE
from luthier.plan.time.estimate import estimate_time
from luthier.plan.work.workload_build import build_workload
from luthier.recipe.load import dump_recipe, parse_recipe
from luthier.recipe.schema import Recipe

EMBEDDED = Path("src/luthier/models/embedded")
GIB = 2**30
# Enough that the first steps, which claim memory, weigh little.
STEPS: Mapping[str, int] = {"5M": 40, "28M": 20, "120M": 10}
CALIBRATION_STEPS = 15
# A core's speed varies with what its neighbours do, most for what fits into shared caches.
REPEATS: Mapping[str, int] = {"5M": 3, "28M": 2, "120M": 2}
# The clock of the measured processes is their own processor's time, on one thread: other programs
# that share the core are not measured.
OWN_CLOCK = "import time; time.perf_counter = time.process_time\n"

# Qwen2 with the embedded model's vocabulary: about 5, 28 and 120 million weights.
SIZES: Mapping[str, Mapping[str, int] | None] = {
    "5M": None,
    "28M": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
    "120M": {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 18,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
    },
}
_LORA: Mapping[str, Any] = {
    "adapter": "lora",
    "lora_r": 16,
    "lora_alpha": 16,
    "lora_target_linear": True,
}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "full": {},
    "LoRA": _LORA,
    "DoRA": {**_LORA, "peft_use_dora": True},
    "QLoRA": {**_LORA, "adapter": "qlora", "load_in_4bit": True},
    "GaLore": {"optimizer": "galore_adamw", "galore_rank": 32, "galore_update_proj_gap": 10},
}


class Case(NamedTuple):
    """One method on one model, predicted and measured.

    Attributes:
        size, method: which.
        memory: predicted and measured peak, GiB.
        before: predicted seconds of training, before a calibration.
        after: the same after one.
        seconds: as measured.
        spread: by how much the measured seconds of its repetitions differ, as a share.
    """

    size: str
    method: str
    memory: tuple[float, float]
    before: float
    after: float
    seconds: float
    spread: float = 0.0


def make_recipe(base: str, method: str, size: str) -> Recipe:
    """The recipe of a case."""
    large = size == "120M"
    values = {
        "base_model": base,
        # What the constants of a process were set in; bf16: auto may be faster here, or not.
        "bf16": False,
        "datasets": [{"generate": "elle", "count": 160}],
        "learning_rate": 1e-4,
        "micro_batch_size": 1 if large else 4,
        "max_steps": STEPS[size],
        "sequence_len": 512,
        **METHODS[method],
        # An exact decomposition of its layers takes a minute here.
        **({"galore_svd": "randomized"} if large and method == "GaLore" else {}),
    }
    return parse_recipe(values).recipe


def save_model(folder: Path, sizes: Mapping[str, int]) -> str:
    """A random model with the embedded model's tokenizer."""
    code = (
        "import json, sys, torch\n"
        "from transformers import AutoConfig, AutoModelForCausalLM\n"
        "config = AutoConfig.from_pretrained(sys.argv[1], **json.loads(sys.argv[3]))\n"
        "torch.manual_seed(0)\n"
        "AutoModelForCausalLM.from_config(config).save_pretrained(sys.argv[2])\n"
    )
    changes = {**sizes, "layer_types": ["full_attention"] * sizes["num_hidden_layers"]}
    command = [sys.executable, "-c", code, str(EMBEDDED), str(folder), json.dumps(changes)]
    subprocess.run(command, check=True, capture_output=True)
    for file in EMBEDDED.glob("*token*"):
        shutil.copy(file, folder)
    shutil.copy(EMBEDDED / "chat_template.jinja", folder)
    return str(folder)


def run_case(base: str, size: str, method: str, folder: Path) -> Case:
    """Plan, calibrate, plan again, train."""
    recipe = make_recipe(base, method, size)
    file = folder / "recipe.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    store = folder / "calibrations.jsonl"
    store.unlink(missing_ok=True)
    os.environ[STORE_VARIABLE] = str(store)
    machine = build_machine(describe_this_machine(), 1, "none", None)
    workload = build_workload(recipe, read_facts(base), count_tokens(recipe))
    memory = estimate_memory(workload, machine).allocated_gib.value
    before = estimate_time(workload, machine).train_hours.value * 3600
    run_alone(f"calibrate(recipe, {CALIBRATION_STEPS})", "luthier.calibrate", "calibrate", file)
    after = estimate_time(workload, machine).train_hours.value * 3600
    output = folder / "run"
    shutil.rmtree(output, ignore_errors=True)
    call = f"train_recipe(recipe, Path({str(output)!r}))"
    run_alone(call, "luthier.train.run", "train_recipe", file)
    done = json.loads((output / "done.json").read_text())
    peak = done["peak_memory_bytes"] / GIB
    return Case(size, method, (memory, peak), before, after, done["seconds"])


def take_medians(runs: list[Case]) -> Case:
    """One case of several runs of it: the middle of each figure."""
    first = runs[0]
    peak = statistics.median(run.memory[1] for run in runs)
    return first._replace(
        memory=(first.memory[0], peak),
        after=statistics.median(run.after for run in runs),
        seconds=statistics.median(run.seconds for run in runs),
        spread=max(run.seconds for run in runs) / min(run.seconds for run in runs) - 1,
    )


def run_alone(call: str, module: str, name: str, recipe: Path) -> None:
    """Run `call` in a process of its own."""
    code = (
        f"{OWN_CLOCK}"
        "from pathlib import Path\n"
        "from luthier.recipe.load import load_recipe\n"
        f"from {module} import {name}\n"
        f"recipe = load_recipe(Path({str(recipe)!r})).recipe\n"
        f"{call}\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)


def describe(cases: list[Case]) -> str:
    """The page as Markdown."""
    device = describe_this_machine()
    lines = [
        "# Predicted against measured on one machine",
        "",
        f"{device.name}, one core, float32. `python benchmarks/planner_here.py` makes this page:",
        f"each case is planned before anything has run, calibrated with {CALIBRATION_STEPS} steps,",
        f"planned again and trained for {_listed(STEPS.values())} steps. Peak memory is the whole",
        "process's; time is the processor's own, of the training steps; medians of two or three",
        "repetitions. The 120M model takes one example a step and finds GaLore's projections by a",
        "randomised decomposition; the others take four examples, and exact decompositions. What a",
        "process holds beyond its tensors was set on this machine (memory/cpu_process.py): these",
        "rows do not test that part.",
        "",
        "| model | method | peak GiB, predicted | measured | error | seconds, uncalibrated "
        "| calibrated | measured | error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        predicted, measured = case.memory
        lines.append(
            f"| {case.size} | {case.method} | {predicted:.2f} | {measured:.2f} "
            f"| {predicted / measured - 1:+.0%} | {case.before:.1f} | {case.after:.1f} "
            f"| {case.seconds:.1f} | {case.after / case.seconds - 1:+.0%} |"
        )
    memory = sorted(abs(case.memory[0] / case.memory[1] - 1) for case in cases)
    timed = sorted(abs(case.after / case.seconds - 1) for case in cases)
    lines += [
        "",
        f"Largest error: memory {memory[-1]:.0%}, time after calibration {timed[-1]:.0%}; "
        f"medians {memory[len(memory) // 2]:.0%} and {timed[len(timed) // 2]:.0%}.",
        "",
        "Other programs ran on the machine: repetitions of the very same training differ by up to",
        f"{max(case.spread for case in cases):.0%} (median "
        f"{statistics.median(case.spread for case in cases):.0%}), which no calibration foresees.",
    ]
    return "\n".join(lines) + "\n"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def main() -> None:
    """Measure all cases and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--methods", default=",".join(METHODS))
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cases: list[Case] = []
    with tempfile.TemporaryDirectory() as name:
        for size in arguments.sizes.split(","):
            shape = SIZES[size]
            base = "embedded" if shape is None else save_model(Path(name) / size, shape)
            for method in arguments.methods.split(","):
                runs = [run_case(base, size, method, Path(name)) for _ in range(REPEATS[size])]
                cases.append(take_medians(runs))
                print(cases[-1], flush=True)
    arguments.output.write_text(describe(cases), encoding="utf-8")


if __name__ == "__main__":
    main()
