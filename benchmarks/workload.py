"""What both peers train: one model, the rows in one order, one set of choices."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from luthier import device
from luthier.data.batches import TokenizedExample
from luthier.data.elle import elle_example, generate_elle
from luthier.data.examples import Example, Message
from luthier.data.tokenize import TokenizeOptions, tokenize_examples
from luthier.models.load import load_tokenizer, locate_model
from luthier.recipe.load import parse_recipe
from luthier.recipe.schema import Recipe

BATCH_SIZE = 8
UNIFORM_TOKENS = 220
LONGEST_TOKENS = 1024  # TRL's default max_length
RANK, ALPHA, LEARNING_RATE, SEED = 16, 32, 2e-4, 42
BETAS, EPSILON, WEIGHT_DECAY, MAX_GRAD_NORM = (0.9, 0.999), 1e-8, 0.0, 1.0
# Every linear layer of a Qwen2 block.
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Rows(NamedTuple):
    file: Path
    tokens_per_step: list[int]


def write_model(folder: Path) -> int:
    """Save a Qwen2 of about 8M random parameters with the embedded tokenizer; returns their count.

    Random weights cost what trained ones cost.
    """
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(locate_model("embedded"))
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=896,
        num_hidden_layers=7,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(SEED)
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.num_parameters()


def write_uniform_rows(path: Path, steps: int) -> Rows:
    """Conversations cut to exactly 220 tokens, a little under half of them supervised."""
    count = steps * BATCH_SIZE
    rows = generate_elle("cic", "compact", count, SEED)
    examples = [elle_example(row, where=f"elle:{i}") for i, row in enumerate(rows, start=1)]
    return _write(path, examples, UNIFORM_TOKENS, count)


def write_mixed_rows(path: Path, steps: int, source: Path) -> Rows:
    """The first rows of a question/answer file in its own order: lengths as they come."""
    count = steps * BATCH_SIZE
    with source.open(encoding="utf-8") as file:
        fields = [json.loads(line) for line in itertools.islice(file, 2 * count)]
    examples = [
        Example(
            str(number),
            (Message("user", row["question"], False), Message("assistant", row["answer"], True)),
            where=f"{source}:{number}",
        )
        for number, row in enumerate(fields, start=1)
    ]
    return _write(path, examples, LONGEST_TOKENS, count)


def read_rows(path: Path) -> list[TokenizedExample]:
    with np.load(path) as file:
        cuts = np.cumsum(file["lengths"])[:-1]
        parts = zip(
            np.split(file["input_ids"], cuts), np.split(file["loss_mask"], cuts), strict=True
        )
        return [TokenizedExample(str(i), ids, mask) for i, (ids, mask) in enumerate(parts)]


def build_recipe(model: Path, steps: int, changes: Mapping[str, Any]) -> Recipe:
    """Luthier's recipe of the run, LoRA but for `changes` (None takes a key out).

    The rows are given apart.
    """
    values: dict[str, Any] = {
        "base_model": str(model),
        "datasets": [{"path": "given apart", "ds_type": "jsonl", "type": "chat_template"}],
        "adapter": "lora",
        "lora_r": RANK,
        "lora_alpha": ALPHA,
        "lora_target_modules": TARGETS,
        "sequence_len": LONGEST_TOKENS,
        "micro_batch_size": BATCH_SIZE,
        "max_steps": steps,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler": "constant",
        "optimizer": "adamw_torch_fused",
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "adam_epsilon": EPSILON,
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": MAX_GRAD_NORM,
        "bf16": device.usual_precision() == "bfloat16",
        "seed": SEED,
        **changes,
    }
    given = {key: value for key, value in values.items() if value is not None}
    return parse_recipe(given, source="benchmark").recipe


def _write(path: Path, examples: list[Example], longest: int, count: int) -> Rows:
    tokenizer = load_tokenizer("embedded").tokenizer
    # Cut where rows shall be of one length, left out where they come as they are.
    excess = "truncate" if longest == UNIFORM_TOKENS else "drop"
    options = TokenizeOptions(longest, excess)
    kept = tokenize_examples(examples, tokenizer, options).examples[:count]
    if len(kept) < count:
        raise SystemExit(f"{len(kept)} rows, {count} are needed: ask for fewer --steps.")
    lengths = [len(example.input_ids) for example in kept]
    np.savez(
        path,
        lengths=lengths,
        input_ids=np.concatenate([example.input_ids for example in kept]),
        loss_mask=np.concatenate([example.loss_mask for example in kept]),
    )
    return Rows(path, [sum(lengths[i : i + BATCH_SIZE]) for i in range(0, count, BATCH_SIZE)])
