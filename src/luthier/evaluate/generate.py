"""Greedy answers, batched: prompts in, texts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from luthier.data.examples import Example
from luthier.data.tokenize import render_chat
from luthier.errors import DataError
from luthier.evaluate.model import EvaluatedModel
from luthier.models.load import require_chat_template

GREEDY: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "temperature": None,
    "top_p": None,
    "top_k": None,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": None,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
}


def render_prompt(model: EvaluatedModel, example: Example) -> str:
    """The conversation up to its last answer, as the model will see it.

    Raises:
        DataError: an example that does not end with an answer to be given.
    """
    turns = [{"role": m.role, "content": m.content} for m in example.messages]
    if turns and turns[-1]["role"] == "assistant":
        turns = turns[:-1]
    if not turns:
        raise DataError(f"{example.where or example.id}: no prompt to answer.")
    require_chat_template(model.tokenizer, "the model")
    return render_chat(model.tokenizer, turns, prompt=True)


def pad_left(model: EvaluatedModel, prompts: Sequence[str], room_tokens: int) -> dict[str, Any]:
    """`input_ids` and `attention_mask` on the model's device, padded on the left.

    Raises:
        DataError: with `room_tokens` of answer, a prompt is longer than the model can read.
    """
    model.tokenizer.padding_side = "left"
    encoded = model.tokenizer(
        list(prompts), add_special_tokens=False, padding=True, return_tensors="pt"
    )
    length, limit = encoded["input_ids"].shape[1], model.context_tokens
    if length + room_tokens > limit:
        raise DataError(
            f"a prompt of {length} tokens and {room_tokens} of answer are more than the {limit} "
            "that the model reads. Lower max_new_tokens, or leave out the longest rows."
        )
    return {key: encoded[key].to(model.device) for key in ("input_ids", "attention_mask")}


@torch.no_grad()
def generate(model: EvaluatedModel, prompts: Sequence[str], max_new_tokens: int) -> list[str]:
    """The model's greedy answer to each prompt, without its stop token."""
    inputs = pad_left(model, prompts, max_new_tokens)
    output = model.causal.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        # A model's own generation settings may sample or penalise; a comparison must not.
        **GREEDY,
        eos_token_id=_stop_tokens(model),
        pad_token_id=model.tokenizer.pad_token_id,
    )
    answers = output[:, inputs["input_ids"].shape[1] :]
    return list(model.tokenizer.batch_decode(answers, skip_special_tokens=True))


def _stop_tokens(model: EvaluatedModel) -> list[int]:
    """The tokenizer's stop token and those that the model's own settings name."""
    configured = model.causal.generation_config.eos_token_id
    named = configured if isinstance(configured, list) else [configured]
    stops = {model.tokenizer.eos_token_id, *named}
    return sorted(int(stop) for stop in stops if stop is not None)
