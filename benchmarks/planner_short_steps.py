"""Steps of one short example at a time: Qwen's own measurements on an A100.

QwenLM/Qwen, README.md, "Profiling of Memory and Speed": LoRA on every linear layer, one example a
micro-batch, 8 micro-batches a step, FlashAttention-2, checkpointing, one A100-SXM4-80GB. The
seconds that a kernel takes to start (utilisation.py) were fitted to the rows of 256 tokens; the
other rows were not used for anything.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import NamedTuple

from luthier.plan.figure import Figure
from luthier.plan.machine.devices import find_device
from luthier.plan.machine.hardware import Machine
from luthier.plan.model.architectures import facts_from_config
from luthier.plan.model.model_facts import ModelFacts
from luthier.plan.time.step_time import estimate_step
from luthier.plan.work.trainable import count_trainable
from luthier.plan.work.workload import Workload
from luthier.recipe.load import parse_recipe

LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
FITTED_LENGTH = 256
# Model → width, layers, width of the feed-forward block, heads; seconds of a step by length.
MODELS: Mapping[str, tuple[int, int, int, int]] = {
    "Qwen-1.8B": (2048, 24, 5504, 16),
    "Qwen-7B": (4096, 32, 11008, 32),
    "Qwen-14B": (5120, 40, 13696, 40),
}
SECONDS: Mapping[str, tuple[float, ...]] = {
    "Qwen-1.8B": (1.0, 1.0, 1.1, 1.7, 3.3, 6.8),
    "Qwen-7B": (1.2, 1.5, 2.8, 5.2, 10.1, 21.3),
    "Qwen-14B": (1.6, 2.4, 4.4, 8.4, 17.0, 36.0),
}


class ShortStep(NamedTuple):
    """One measurement beside its prediction, in seconds of a step."""

    model: str
    tokens: int
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Predicted ÷ measured − 1."""
        return self.predicted / self.measured - 1


def list_short_steps() -> list[ShortStep]:
    """Every row, predicted."""
    return [
        ShortStep(model, tokens, seconds, _predict(model, tokens))
        for model, row in SECONDS.items()
        for tokens, seconds in zip(LENGTHS, row, strict=True)
    ]


def read_qwen(model: str) -> ModelFacts:
    """Qwen's first series in today's names: biased queries, keys and values, a gate."""
    width, layers, ffn_width, heads = MODELS[model]
    config = {
        "model_type": "qwen2",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": ffn_width,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "vocab_size": 151_936,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
    }
    return facts_from_config(model, config, "QwenLM/Qwen")


def _predict(model: str, tokens: int) -> float:
    facts = read_qwen(model)
    recipe = parse_recipe(
        {
            "base_model": model,
            "datasets": [{"path": "rows.jsonl", "type": "alpaca"}],
            "learning_rate": 3e-4,
            "adapter": "lora",
            "lora_r": 64,
            "lora_alpha": 16,
            "lora_dropout": 0.05,
            "lora_target_linear": True,
            "gradient_checkpointing": True,
            "gradient_accumulation_steps": 8,
            "sequence_len": tokens,
            "bf16": True,
        }
    ).recipe
    row = Figure(tokens, "given", "the measurement's own")
    trainable = count_trainable(recipe, facts)
    share = Figure(1.0, "assumed", "not published")
    workload = Workload(
        recipe, facts, "transformers", trainable, row, row, share, row, row, row, row
    )
    return estimate_step(workload, Machine(find_device("A100-80GB"), 1, "none", None)).seconds.value


def describe_short_steps() -> str:
    """A table of errors by model and length, as Markdown."""
    steps = list_short_steps()
    unseen = [abs(step.error) for step in steps if step.tokens != FITTED_LENGTH]
    lines = [
        "Steps of one example (QwenLM/Qwen's README: LoRA r64, one A100, eight micro-batches a",
        f"step). The time to start a kernel is fitted to the column of {FITTED_LENGTH}; of the "
        "rest",
        f"the median error is {statistics.median(unseen):.1%}, the largest {max(unseen):.1%}.",
        "",
        f"| model | {' | '.join(f'{length} tokens' for length in LENGTHS)} |",
        f"|---|{'---|' * len(LENGTHS)}",
    ]
    for model in MODELS:
        row = [f"{step.error:+.0%}" for step in steps if step.model == model]
        lines.append(f"| {model} | {' | '.join(row)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(describe_short_steps())
