"""One run of a study in a process of its own: `python -m luthier.study.worker STUDY_DIR …`.

A process of its own, so that a run which dies of memory leaves the others alone, and so that the
peak memory of an arm is its own and not that of the arms before it.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import traceback
from pathlib import Path

from luthier.data.load import load_examples
from luthier.errors import LuthierError
from luthier.evaluate.model import EvaluatedModel, load_model
from luthier.evaluate.run import evaluate_model
from luthier.files import RunLayout, write_json
from luthier.recipe.load import load_recipe
from luthier.recipe.load_study import load_study
from luthier.recipe.study import LoadedStudy
from luthier.study.base import choose_base
from luthier.study.data import test_sources
from luthier.study.ledger import PLANNED_RECIPE, Run, locate_run, unscored_tasks
from luthier.study.settled import read_precision
from luthier.train.run import TrainOptions, train_recipe


def run_one(folder: Path, run: Run, loaded: LoadedStudy, trust: bool) -> None:
    """Train where there is something to train, then score what is not scored yet."""
    layout = RunLayout(run.folder)
    if run.seed is not None:
        recipe = load_recipe(run.folder / PLANNED_RECIPE).recipe
        train_recipe(
            recipe,
            run.folder,
            TrainOptions(
                resume=True,
                trust_remote_code=trust,
                name=run.title,
                data_cache=folder / "data" / "prepared",
                precision=read_precision(folder),
            ),
        )
    score(folder, run, loaded, trust)
    layout.error.unlink(missing_ok=True)


def score(folder: Path, run: Run, loaded: LoadedStudy, trust: bool) -> None:
    missing = unscored_tasks(run, loaded.study)
    if not missing:
        return
    layout = RunLayout(run.folder)
    sources = test_sources(loaded.study, folder / "data")
    model = load_scored(run, loaded, trust, bf16=read_precision(folder) == "bfloat16")
    for task in loaded.study.tasks:
        if task.name in missing:
            examples = load_examples(sources[task.name], limit=task.limit).examples
            evaluate_model(
                model,
                task.task,
                examples,
                layout.evaluations,
                name=task.name,
                label=run.title,
                max_new_tokens=task.max_new_tokens,
                batch_size=task.batch_size,
            )


def load_scored(run: Run, loaded: LoadedStudy, trust: bool, *, bf16: bool) -> EvaluatedModel:
    """What a run trained, or the base model, spoken to as the arms are."""
    if run.seed is not None:
        return load_model(str(run.folder), bf16=bf16, trust_remote_code=trust)
    base = choose_base(loaded)
    return load_model(
        base.name,
        bf16=bf16,
        chat_template=base.chat_template,
        special_tokens=base.special_tokens,
        trust_remote_code=trust,
    )


def end_with_parent() -> None:
    """End this process when the one that holds the other end of its standard input is gone.

    A study that was killed and started again would else train beside its own orphan.
    """

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def write_error(run: Run, error: BaseException) -> None:
    write_json(
        RunLayout(run.folder).error,
        {
            "error": type(error).__name__,
            "message": str(error),
            "traceback": "".join(traceback.format_exception(error)),
        },
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arm", required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--trust-remote-code", action="store_true")
    options = parser.parse_args()
    end_with_parent()
    folder: Path = options.folder
    loaded = load_study(folder / "study.yaml")
    run = locate_run(folder, options.arm, options.seed)
    try:
        run_one(folder, run, loaded, options.trust_remote_code)
    except LuthierError as error:
        write_error(run, error)
        print(f"{run.title}: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        write_error(run, error)
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
