"""Train every technique on every family, kill each run with SIGKILL, resume it, compare.

    python scripts/kill_matrix.py [--only dora] [--family gemma] [--kills 2] [--seed 0]

For each combination an uninterrupted run is trained first. Its loss must fall; what it leaves must
load and merge to the logits of the model that was trained. Then the same recipe is trained again,
killed at random moments and while it writes a file, and resumed to its end: result, metrics and
summary must be the uninterrupted run's, byte for byte. Processes are forked from one that has
imported everything, so a kill costs no start-up; all run on the CPU. Prints a line a combination,
with the step that each kill left behind (w: a file half-written); exit code 1 when anything
differs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kill_test import Reference, compare, read_result, read_steps, wait_for_writing
from matrix_processes import (
    Failed,
    check,
    finish,
    fork,
    load_model,
    prepare_process,
    save_base,
    train,
    train_whole,
)
from matrix_techniques import (
    EIGHT_BIT_MOMENTS,
    FAMILIES,
    STAGES,
    STEPS,
    TECHNIQUES,
    make_recipe,
    write_data,
)

TRIES = 6  # until a run has been killed as often as asked
TIMED = ("seconds", "tokens_per_second", "peak_memory_bytes")


class Kill(NamedTuple):
    steps: int  # steps of the newest checkpoint that the killed run had
    writing: bool  # whether a file was half-written

    def __str__(self) -> str:
        return f"{self.steps}{'w' if self.writing else ''}"


class Outcome(NamedTuple):
    technique: str
    family: str
    kills: list[Kill]
    figures: dict[str, float]
    problems: list[str]
    digest: str  # of the result's files
    seconds: float


class Ground:
    """Data and base models, each made when first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        write_data(self.data)

    def base(self, technique: str, family: str) -> Path:
        plain = self.folder / "bases" / family
        log = self.folder / "bases.log"
        if not plain.exists():
            finish(fork(save_base, plain, family, log=log), log)
            # Once here: transformers works out a table at its first model, and keeps it.
            load_model(plain)
        stage = STAGES.get(technique)
        if stage is None:
            return plain
        run = self.folder / "stages" / f"{family}-{stage}"
        if not run.exists():
            recipe = make_recipe(stage, plain, self.data)
            finish(fork(train, recipe, run, log=log), log)
        return run


def run_combination(ground: Ground, technique: str, family: str, kills: int, seed: int) -> Outcome:
    """Train, check, kill and resume one technique on one family; its files are gone after."""
    began = time.perf_counter()
    generator = random.Random(f"{seed}/{technique}/{family}")
    folder = ground.folder / "runs" / f"{technique}-{family}"
    folder.mkdir(parents=True)
    done: list[Kill] = []
    figures: dict[str, Any] = {}
    problems: list[str] = []
    digest = ""
    try:
        recipe = make_recipe(technique, ground.base(technique, family), ground.data)
        whole, log, memory = folder / "whole", folder / "log.txt", folder / "memory.pt"
        started = time.perf_counter()
        finish(fork(train_whole, recipe, whole, memory, log=log), log)
        seconds = time.perf_counter() - started
        eight_bit = technique in EIGHT_BIT_MOMENTS
        report = folder / "findings.json"
        finish(fork(check, recipe, whole, memory, eight_bit, report, log=log), log)
        figures = json.loads(report.read_text())
        problems += figures.pop("problems")
        reference = Reference(read_result(whole), read_steps(whole), seconds)
        digest = hashlib.sha256(b"".join(reference.files.values())).hexdigest()
        for number in range(TRIES):
            output = folder / f"killed-{number}"
            done += kill_run(recipe, output, kills - len(done), generator, seconds, log)
            problems += compare(reference, whole, output) + compare_summaries(whole, output)
            if len(done) >= kills:
                break
        else:
            problems.append(f"only {len(done)} of {kills} kills hit the run")
    except Failed as error:
        problems.append(str(error))
    if not problems:
        shutil.rmtree(folder)
    taken = time.perf_counter() - began
    return Outcome(technique, family, done, figures, problems, digest, taken)


def kill_run(
    recipe: dict[str, Any],
    output: Path,
    kills: int,
    generator: random.Random,
    seconds: float,
    log: Path,
) -> list[Kill]:
    """Kill a run up to `kills` times, then let it end; the kills that hit it."""
    done: list[Kill] = []
    for _ in range(kills):
        writing = generator.random() < 0.5
        wanted = generator.randint(count_steps(output), STEPS)
        process = fork(train, recipe, output, log=log)
        wait_for_step(wanted, output, process)
        if writing:
            wait_for_writing(output, process, seconds)
            time.sleep(generator.uniform(0, 0.004))
        else:
            process.join(generator.uniform(0, 1.5 * seconds / STEPS))
        process.kill()  # SIGKILL; nothing where the run is over
        process.join()
        if process.exitcode != -signal.SIGKILL:
            finish(process, log)
            break
        staged = any(True for _ in output.rglob(".staged-*"))
        done.append(Kill(count_steps(output), staged))
    finish(fork(train, recipe, output, log=log), log)
    return done


def wait_for_step(step: int, output: Path, process: Any) -> None:
    """Wait until the checkpoint of `step` is there, or the run is over."""
    while process.is_alive() and count_steps(output) < step:
        time.sleep(0.002)


def count_steps(output: Path) -> int:
    """Optimizer steps that a resumed run would not take again."""
    # Between the result and the summary no checkpoint need be left.
    if (output / "adapter").exists() or (output / "model").exists():
        return STEPS
    found = output.glob("checkpoints/step-*")
    return max((int(path.name.removeprefix("step-")) for path in found), default=0)


def compare_summaries(whole: Path, output: Path) -> list[str]:
    """Where the summaries differ in anything but time and memory."""
    first, second = (json.loads((run / "done.json").read_text()) for run in (whole, output))
    keys = sorted({*first, *second} - set(TIMED))
    return [f"done.json has another {key}" for key in keys if first.get(key) != second.get(key)]


def describe(outcome: Outcome) -> Iterator[str]:
    """One line, and one for each problem."""
    figures = outcome.figures
    learnt = f"loss {figures['first_loss']:6.3f} to {figures['last_loss']:6.3f}" if figures else ""
    merged = f"merge {figures['merge_error']:.0e}" if figures else ""
    killed = "kills " + " ".join(map(str, outcome.kills))
    verdict = "FAILED" if outcome.problems else "equal"
    name = f"{outcome.technique:16} {outcome.family:8}"
    yield f"{name} {learnt:21}  {merged:11}  {killed:12} {verdict}"
    for problem in outcome.problems:
        yield f"    {problem}"


def summarise(outcomes: list[Outcome]) -> str:
    kills = [kill for outcome in outcomes for kill in outcome.kills]
    early = sum(kill.steps == 0 for kill in kills)
    writing = sum(kill.writing for kill in kills)
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    return (
        f"{len(outcomes)} combinations, {len(kills)} kills ({early} before the first checkpoint, "
        f"{writing} within a\nhalf-written file), {failed} with differences: "
        f"{'FAILED' if failed else 'all equal'}"
    )


def choose(only: list[str], families: list[str], diagonal: bool) -> list[tuple[str, str]]:
    """The combinations to run; the diagonal has every technique once and every family in turn."""
    pairs = [(technique, family) for technique in TECHNIQUES for family in FAMILIES]
    if diagonal:
        pairs = [(name, FAMILIES[n % len(FAMILIES)]) for n, name in enumerate(TECHNIQUES)]
    return [(name, family) for name, family in pairs if name in only and family in families]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[*TECHNIQUES], default=[*TECHNIQUES])
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=[*FAMILIES])
    parser.add_argument("--diagonal", action="store_true", help="each technique on one family")
    parser.add_argument("--kills", type=int, default=2, help="for each combination")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="kept; a temporary one when absent")
    parser.add_argument("--results", type=Path, help="also write the outcomes there, as JSON lines")
    given = parser.parse_args()
    prepare_process()
    outcomes: list[Outcome] = []
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ground = Ground(folder)
        for technique, family in choose(given.only, given.family, given.diagonal):
            outcomes.append(run_combination(ground, technique, family, given.kills, given.seed))
            print("\n".join(describe(outcomes[-1])), flush=True)
            if given.results:
                with given.results.open("a") as file:
                    file.write(json.dumps(outcomes[-1]._asdict()) + "\n")
    print(summarise(outcomes))
    return 1 if any(outcome.problems for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
