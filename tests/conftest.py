"""What tests of several rooms share."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# What a developer has measured on this machine must not decide what a test plans.
os.environ.setdefault("LUTHIER_CALIBRATIONS", os.devnull)
# Tiny tensors: a second thread costs more than it gives.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def prefer_float32() -> None:
    """`bf16: auto` means float32 in tests, on every machine; unless somebody says otherwise."""
    from luthier.precision_store import STORE_VARIABLE, MeasuredGain, remember_gain

    if STORE_VARIABLE not in os.environ:
        folder = tempfile.mkdtemp(prefix="luthier-tests-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ[STORE_VARIABLE] = str(Path(folder) / "precisions.jsonl")
        assert remember_gain(MeasuredGain(gain=1.0, share=0.0))


prefer_float32()


@pytest.fixture(scope="session")
def chat_tokenizer() -> Any:
    """One token a byte, ChatML."""
    from tiny_models import build_tokenizer

    return build_tokenizer()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen2 with its tokenizer, on disk."""
    from tiny_models import save_base_model

    return save_base_model(tmp_path_factory.mktemp("base"), initializer_range=0.05)


@pytest.fixture(scope="session")
def chat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 conversations of ragged lengths: count on from a number."""
    file = tmp_path_factory.mktemp("data") / "chat.jsonl"
    rows: list[dict[str, Any]] = []
    for number in range(24):
        answer = " ".join(str(number + step) for step in range(1, 2 + number % 7))
        rows.append(
            {
                "id": f"row-{number}",
                "messages": [
                    {"role": "user", "content": f"Count on from {number}."},
                    {"role": "assistant", "content": answer},
                ],
            }
        )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
