"""What many tests share of the verification's tiny models, and a tokenizer of bytes with ChatML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from verification.check import relative_error
from verification.models import FAMILIES, VOCABULARY, build_model, name_head

from luthier.data.batches import TokenizedExample

__all__ = [
    "FAMILIES",
    "VOCABULARY",
    "build_model",
    "build_tokenizer",
    "make_examples",
    "name_head",
    "relative_error",
    "save_base_model",
]

SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, three special tokens, ChatML."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        additional_special_tokens=[SPECIAL[1]],
        chat_template=CHATML,
    )


def save_base_model(folder: Path, family: str = "qwen2", **changes: Any) -> Path:
    """A base model with its tokenizer on disk, as `base_model:` names one."""
    build_model(family, dtype=torch.float32, **changes).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def make_examples(*lengths: int) -> list[TokenizedExample]:
    """Random tokens; the second half of each example is supervised."""
    generator = np.random.default_rng(0)
    return [
        TokenizedExample(
            str(number),
            generator.integers(3, VOCABULARY, length).astype(np.int32),
            np.arange(length) >= length // 2,
        )
        for number, length in enumerate(lengths)
    ]
