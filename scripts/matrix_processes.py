"""The kill matrix's processes: forked from one that has imported everything, so quick to start."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import multiprocessing
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matrix_techniques import GPT2_WIDTHS, WIDTHS

ROOT = Path(__file__).parents[1]
FORK = multiprocessing.get_context("fork")


def prepare_process() -> None:
    """Import everything, once: what is forked has it all."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # A forked process has none of its parent's threads, and cannot use its parent's GPU.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # It remarks that an optional kernel is missing.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    for module in ("matrix_checks", "tiny_models", "luthier.train.run"):
        importlib.import_module(module)
    assert threading.active_count() == 1
    # Or each child's first collection would copy every page that it looks at.
    gc.freeze()


class Failed(Exception):
    """A forked process ended by itself, and not well."""


def fork(function: Callable[..., None], *given: Any, log: Path) -> Any:
    """Start `function` in a process forked from this one, with its output in `log`."""

    def child() -> None:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        function(*given)

    process = FORK.Process(target=child)
    process.start()
    return process


def finish(process: Any, log: Path) -> None:
    process.join()
    if process.exitcode != 0:
        lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
        raise Failed(f"exit code {process.exitcode}: {lines[-1]}")


def train(recipe: dict[str, Any], output: Path) -> None:
    forget_seeds()
    from luthier.recipe.load import parse_recipe
    from luthier.train.run import TrainOptions, train_recipe

    train_recipe(parse_recipe(recipe).recipe, output, TrainOptions(resume=True))


def train_whole(recipe: dict[str, Any], output: Path, memory: Path) -> None:
    from matrix_checks import train_remembering

    forget_seeds()
    train_remembering(recipe, output, memory)


def forget_seeds() -> None:
    """Every generator anew, as in a process of its own."""
    import numpy as np
    import torch

    torch.seed()
    np.random.seed()
    random.seed()


def check(recipe: dict[str, Any], output: Path, memory: Path, eight_bit: bool, file: Path) -> None:
    from matrix_checks import check_run

    findings = check_run(recipe, output, memory, eight_bit_moments=eight_bit)
    file.write_text(json.dumps(findings._asdict()))


def save_base(folder: Path, family: str) -> None:
    from tiny_models import save_base_model  # pyright: ignore[reportMissingImports]

    widths = GPT2_WIDTHS if family == "gpt2" else WIDTHS
    save_base_model(folder, family, initializer_range=0.05, **widths)


def load_model(folder: Path) -> None:
    from luthier.evaluate import model

    model.load_model(str(folder))
