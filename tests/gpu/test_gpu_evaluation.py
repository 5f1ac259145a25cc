"""Answers, likelihoods and perplexity on the device: batched, and one prompt at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_cases import LOWER, needs_gpu
from verification.models import build_model

from luthier import api, device
from luthier.data.examples import Example
from luthier.evaluate.generate import generate
from luthier.evaluate.likelihood import score_answers
from luthier.evaluate.model import EvaluatedModel, load_model
from luthier.evaluate.tasks.perplexity import PERPLEXITY

pytestmark = pytest.mark.gpu

FAMILIES = ("qwen2", "llama", "gpt2", "gpt_neox", "gemma")
PROMPTS = ("A", "Which section is it, then?", "one two")
ANSWERS = ("World", "Worldwide", "no")
NEW_TOKENS = 12


def load(family: str, tokenizer: Any, dtype: torch.dtype, place: torch.device) -> EvaluatedModel:
    return EvaluatedModel(build_model(family).to(place, dtype), tokenizer)


def encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_gets_the_answers_that_transformers_gives_one_by_one(
    family: str, chat_tokenizer: Any, place: torch.device
) -> None:
    model = load(family, chat_tokenizer, torch.float32, place)
    found = generate(model, PROMPTS, NEW_TOKENS)
    expected: list[str] = []
    for prompt in PROMPTS:
        ids = torch.tensor([encode(chat_tokenizer, prompt)], device=place)
        output = model.causal.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=sorted({2, chat_tokenizer.eos_token_id}),
            pad_token_id=chat_tokenizer.pad_token_id,
        )
        answer = output[0, ids.shape[1] :]
        expected.append(chat_tokenizer.decode(answer, skip_special_tokens=True))
    assert found == expected
    assert len(set(found)) > 1


@torch.no_grad()
def score_plainly(model: EvaluatedModel, prompt: str, answer: list[int]) -> float:
    """log p of all tokens of `answer` after `prompt`: no batch, no cache, no padding."""
    start = encode(model.tokenizer, prompt)
    ids = torch.tensor([[*start, *answer]], device=model.device)
    chances = model.causal(ids, use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(chances[len(start) + k - 1, token]) for k, token in enumerate(answer))


@pytest.mark.parametrize("dtype", LOWER)
@pytest.mark.parametrize("family", FAMILIES)
def test_likelihoods_are_those_of_a_full_forward_pass(
    family: str, dtype: torch.dtype, chat_tokenizer: Any, place: torch.device
) -> None:
    model = load(family, chat_tokenizer, dtype, place)
    exact = load(family, chat_tokenizer, torch.float64, torch.device("cpu"))
    answers = [[*encode(chat_tokenizer, a), chat_tokenizer.eos_token_id] for a in ANSWERS]
    tables = [
        torch.tensor([[score_plainly(each, p, a) for a in answers] for p in PROMPTS])
        for each in (exact, model)
    ]
    error = (score_answers(model, PROMPTS, answers).cpu() - tables[0]).norm()
    alone = (tables[1] - tables[0]).norm()
    noise = {torch.float32: 1e-5, torch.bfloat16: 0.02}[dtype] * tables[0].norm()
    assert float(error) < 2 * float(alone) + float(noise)


@pytest.mark.parametrize("family", FAMILIES)
def test_perplexity_is_that_of_each_text_alone(
    family: str, chat_tokenizer: Any, place: torch.device
) -> None:
    model = load(family, chat_tokenizer, torch.float32, place)
    texts = [Example(str(n), (), text="count on " * n) for n in (1, 4, 9)]
    for scored, example in zip(
        PERPLEXITY.score(model, texts, PERPLEXITY.defaults), texts, strict=True
    ):
        assert example.text is not None
        ids = [*encode(chat_tokenizer, example.text), chat_tokenizer.eos_token_id]
        alone = -score_plainly(model, example.text[0], ids[1:]) / len(ids[1:])
        assert scored.scores["nats_per_token"] == pytest.approx(alone, rel=1e-4)


def test_a_run_in_bfloat16_is_scored_in_either_precision(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = {
        "base_model": str(tiny_base),
        "datasets": [{"path": str(chat_file)}],
        "adapter": "lora",
        "lora_r": 4,
        "lora_alpha": 8,
        "lora_target_linear": True,
        "learning_rate": 1e-2,
        "micro_batch_size": 4,
        "sequence_len": 256,
        "max_steps": 3,
        "bf16": True,
    }
    run = tmp_path / "run"
    api.train(recipe, run)
    result = api.evaluate(run, "perplexity", output=tmp_path / "eval", data=chat_file)
    found: list[float] = [result["metrics"]["nats_per_token"]["value"]]
    untrained = api.evaluate(tiny_base, "perplexity", output=tmp_path / "base", data=chat_file)
    for bf16 in (False, True):
        model = load_model(str(run), bf16=bf16)
        assert model.causal.dtype == (torch.bfloat16 if bf16 else torch.float32)
        assert model.device.type == device.describe_device().kind
        answer = generate(model, ["one two"], 8)
        assert isinstance(answer[0], str)
    assert all(math.isfinite(value) for value in found)
    assert found[0] < untrained["metrics"]["nats_per_token"]["value"]


@needs_gpu
def test_an_adapter_in_bfloat16_is_the_default_on_a_gpu(tiny_base: Path) -> None:
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this card has no bfloat16")
    assert load_model(str(tiny_base)).causal.dtype == torch.bfloat16
