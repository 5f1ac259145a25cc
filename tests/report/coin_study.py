"""A study directory small enough to check by hand, written as plain files.

Twenty examples with classes `a` (the first ten) and `b`. The base model is right on the first 4,
`full` on the first 6, `<script>` on all 20. Against the base, `<script>` gains 16 and loses none
(exact McNemar p = 2 · 0.5¹⁶, Holm for two arms doubles it), `full` gains 2 (p = 2 · 0.5² = 0.5).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

N = 20
CORRECT = {"base": 4, "full": 6, "<script>": 20}
STUDY: dict[str, Any] = {
    "study": "coins & co",
    "question": "Does <em>training</em> help?",
    "base": {"base_model": "embedded", "learning_rate": 0.001},
    "arms": {"full": {"learning_rate": 0.002}, "<script>": {"adapter": "lora", "lora_r": 8}},
    "seeds": [7],
    "tasks": ["classification"],
    "baseline": "base",
}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def write_scores(folder: Path, correct: int) -> None:
    """An evaluation that is right on the first `correct` examples."""
    rows = [
        {"id": f"e{i}", "prompt": "", "output": "", "scores": {"accuracy": float(i < correct)}}
        for i in range(N)
    ]
    write_lines(folder / "classification.jsonl", rows)
    right_a, right_b = min(correct, 10), max(0, correct - 10)
    metrics = {
        "accuracy": {"value": correct / N, "n": N, "kind": "yes/no"},
        "macro_f1": {"value": 0.25, "n": N, "kind": "summary"},
    }
    write_json(
        folder / "classification.json",
        {
            "task": "classification",
            "n": N,
            "seconds": 1.5,
            "metrics": metrics,
            "labels": ["a", "b"],
            "confusion_matrix": [[right_a, 10 - right_a], [10 - right_b, right_b]],
        },
    )


def write_run(root: Path, arm: str, seed: int, study: dict[str, Any]) -> Path:
    """One complete run with its evaluation."""
    run = root / arm / f"seed-{seed}"
    run.mkdir(parents=True)
    recipe = {**study["base"], **study["arms"][arm], "seed": seed}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    provenance = {
        "versions": {"torch": "2.13.0"},
        "hardware": {"memory_bytes": 8 * 2**30},
        "git_revision": "abc123",
    }
    write_json(run / "provenance.json", provenance)
    write_lines(
        run / "metrics.jsonl",
        [
            {"step": 1, "epoch": 0.5, "loss": 2.0, "tokens": 50},
            {"step": 2, "epoch": 1.0, "loss": 1.0, "tokens": 100},
            {"step": 2, "epoch": 1.0, "val_loss": 1.25},
        ],
    )
    write_scores(run / "eval", CORRECT[arm])
    done = {
        "status": "done",
        "steps": 2,
        "seconds": 90.0,
        "tokens": 100,
        "supervised_tokens": 40,
        "tokens_per_second": 1234.5,
        "peak_memory_bytes": 734003200,
        "trainable_parameters": 5000,
        "total_parameters": 100000,
        "final_loss": 1.0,
        "val_loss": 1.25,
    }
    write_json(run / "done.json", done)
    return run
