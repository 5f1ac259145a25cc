"""A tiny study, and one to drive step by step."""

from __future__ import annotations

from pathlib import Path

from luthier.api import run_study
from luthier.study.run import StudyOutcome

STUDY = """\
study: parity
question: Can a tiny model tell odd from even?
data: {{path: {data}, type: classification, prompt: "Is {{number}} odd?"}}
sample: {{train: 12, test: 6}}
base:
  base_model: {base}
  sequence_len: 128
  micro_batch_size: 4
  learning_rate: 1e-3
  max_steps: 50
  save_steps: 1
  logging_steps: 1
arms:
  full: {{}}
  lora: {{adapter: lora, lora_r: 2, lora_alpha: 4, lora_target_linear: true}}
seeds: [3]
tasks: [classification, perplexity]
"""


class Driven:
    """A study file and its folder; every worker runs in this process."""

    def __init__(self, folder: Path, text: str) -> None:
        self.file = folder / "study.yaml"
        self.folder = folder / "out"
        self.file.write_text(text, encoding="utf-8")
        self.said: list[str] = []
        self.worked: list[str] = []

    def run(self, *overrides: str) -> StudyOutcome:
        self.said.clear()
        self.worked.clear()
        return run_study(self.file, self.folder, overrides=overrides, say=self.said.append)
