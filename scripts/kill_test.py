"""Kill training runs with SIGKILL at random moments and compare what they end with.

    python scripts/kill_test.py --kills 50

For each kind of run an uninterrupted reference is trained first. Then the same recipe is trained
again and again, each process killed after a random time, or right when it begins to write a
checkpoint or a restart's merged weights, and started again with `resume` until it ends. The
result's bytes and the steps in metrics.jsonl must equal the reference's. Prints a line a kill and
a verdict; exit code 1 when anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

COMMON: dict[str, Any] = {
    "base_model": "embedded",
    "datasets": [{"generate": "elle", "count": 40}],
    "sequence_len": 512,
    "val_set_size": 4,
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "micro_batch_size": 1,
    "gradient_accumulation_steps": 2,
    "max_steps": 10,
    "logging_steps": 1,
    "eval_steps": 4,
    "save_steps": 3,
    "bf16": False,
}
KINDS: dict[str, dict[str, Any]] = {
    "adapter": {
        "adapter": "lora",
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.1,
        "lora_target_linear": True,
        "peft_use_dora": True,
        "peft_use_rslora": True,
        "loraplus_lr_ratio": 4,
        "neftune_noise_alpha": 5,
    },
    # Restarts after steps 4 and 8, which no checkpoint falls on.
    "relora": {
        "adapter": "lora",
        "lora_r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "lora_target_linear": True,
        "relora": True,
        "jagged_restart_steps": 4,
        "jagged_restart_warmup_steps": 1,
    },
    "full": {"sample_packing": True, "early_stopping_patience": 3},
}


class Reference(NamedTuple):
    files: dict[str, bytes]
    steps: list[tuple[int, str]]
    seconds: float


class Verdict(NamedTuple):
    kills: int
    problems: list[str]


def train(recipe: dict[str, Any], output: str, started: Any) -> None:
    """The child: train, or go on with what lies in `output`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    from luthier.recipe.load import parse_recipe
    from luthier.train.run import TrainOptions, train_recipe

    started.set()
    train_recipe(parse_recipe(recipe).recipe, Path(output), TrainOptions(resume=True))


def read_result(output: Path) -> dict[str, bytes]:
    """Every file of the result, by name."""
    folder = output / "adapter" if (output / "adapter").exists() else output / "model"
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def read_steps(output: Path) -> list[tuple[int, str]]:
    """(step, what was logged) for each line of metrics.jsonl, in the file's order."""
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], "val_loss" if "val_loss" in row else "loss") for row in rows]


def read_losses(output: Path) -> list[float]:
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [row.get("val_loss", row.get("loss")) for row in rows]


def start(context: Any, recipe: dict[str, Any], output: Path) -> tuple[Any, Any]:
    started = context.Event()
    process = context.Process(target=train, args=(recipe, str(output), started))
    process.start()
    return process, started


def make_reference(context: Any, recipe: dict[str, Any], output: Path) -> Reference:
    process, started = start(context, recipe, output)
    started.wait(120)
    began = time.perf_counter()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"the uninterrupted run failed with exit code {process.exitcode}")
    seconds = time.perf_counter() - began
    return Reference(read_result(output), read_steps(output), seconds)


def wait_for_writing(output: Path, process: Any, seconds: float) -> bool:
    """Wait until a checkpoint is half-written; False when the time is over or the run ended."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and process.is_alive():
        with contextlib.suppress(OSError):
            if any(path.is_dir() for path in output.rglob(".staged-*")):
                return True
        time.sleep(0.0005)
    return False


def kill_once(
    context: Any, recipe: dict[str, Any], output: Path, generator: random.Random, seconds: float
) -> str | None:
    """Start a process and kill it; what was killed, or None when it ended before."""
    process, started = start(context, recipe, output)
    started.wait(120)
    began = time.perf_counter()
    if generator.random() < 0.4:
        time.sleep(generator.uniform(0, 0.5 * seconds))
        writing = wait_for_writing(output, process, seconds)
        time.sleep(generator.uniform(0, 0.004))
        moment = "while writing" if writing else "at random"
    else:
        process.join(generator.uniform(0.05, seconds))
        moment = "at random"
    after = time.perf_counter() - began
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    if process.exitcode == 0:
        return None
    if process.exitcode != -signal.SIGKILL:
        raise SystemExit(f"a resumed run failed by itself with exit code {process.exitcode}")
    return f"{moment} after {after:.2f} s, {describe_progress(output)}"


def describe_progress(output: Path) -> str:
    """How far the killed run had come."""
    metrics = output / "metrics.jsonl"
    logged = metrics.read_text().count("\n") if metrics.exists() else 0
    saved = sorted(path.name for path in (output / "checkpoints").glob("step-*"))
    merged = sorted(path.name for path in (output / "checkpoints").glob("merged-*"))
    newest = ", ".join([saved[-1] if saved else "none", *merged[-1:]])
    return f"{logged} lines logged, newest checkpoint {newest}"


def compare(reference: Reference, base: Path, output: Path) -> list[str]:
    """What differs between the uninterrupted run and the one that was killed."""
    found = read_result(output)
    problems = [
        f"{name} differs"
        for name in sorted({*reference.files, *found})
        if reference.files.get(name) != found.get(name)
    ]
    if read_steps(output) != reference.steps:
        problems.append("metrics.jsonl has other steps")
    elif read_losses(output) != read_losses(base):
        problems.append("metrics.jsonl has other losses")
    leftovers = [path.name for path in output.rglob(".staged-*")]
    return problems + [f"{name} was left behind" for name in leftovers]


def kill_runs(
    context: Any, kind: str, changes: dict[str, Any], kills: int, folder: Path, seed: int
) -> Verdict:
    """Kill runs of one kind `kills` times; each run is resumed until it ends."""
    recipe = {**COMMON, **KINDS[kind], **changes}
    generator = random.Random(f"{seed}/{kind}")
    reference = make_reference(context, recipe, folder / kind / "reference")
    print(f"{kind}: the uninterrupted run took {reference.seconds:.1f} s", flush=True)
    problems: list[str] = []
    done = attempt = 0
    while done < kills:
        attempt += 1
        output = folder / kind / f"run-{attempt}"
        for _ in range(generator.randint(1, 3)):
            killed = kill_once(context, recipe, output, generator, 0.8 * reference.seconds)
            if killed is None:
                break
            done += 1
            print(f"{kind}: kill {done}: run {attempt}, {killed}", flush=True)
        process, _ = start(context, recipe, output)
        process.join()
        found = [f"exit code {process.exitcode}"] if process.exitcode else []
        found = found or compare(reference, folder / kind / "reference", output)
        problems += [f"{kind} run {attempt}: {problem}" for problem in found]
        print(f"{kind}: run {attempt} ended: {'; '.join(found) or 'equal'}", flush=True)
    return Verdict(done, problems)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=sorted(KINDS))
    parser.add_argument("--base-model", default=COMMON["base_model"])
    parser.add_argument("--data", help="conversations; generated ones when absent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="kept; a temporary one when absent")
    given = parser.parse_args()
    # A server that has imported everything forks the runs: a kill costs no second start-up.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["luthier.train.run"])
    verdicts: list[Verdict] = []
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        left = given.kills
        for place, kind in enumerate(given.kinds):
            share = -(-left // (len(given.kinds) - place))
            left -= share
            changes: dict[str, Any] = {"base_model": given.base_model}
            if given.data:
                changes["datasets"] = [{"path": given.data}]
            verdicts.append(kill_runs(context, kind, changes, share, folder, given.seed))
    problems = [problem for verdict in verdicts for problem in verdict.problems]
    for problem in problems:
        print(problem)
    kills = sum(verdict.kills for verdict in verdicts)
    print(f"{kills} kills, {len(problems)} differences: {'FAILED' if problems else 'all equal'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
