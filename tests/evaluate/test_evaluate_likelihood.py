"""Label likelihoods and greedy answers, against one prompt and one answer at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tiny_models import build_model

from luthier.data.examples import Example, Message
from luthier.errors import DataError, ModelError
from luthier.evaluate.generate import generate, render_prompt
from luthier.evaluate.likelihood import score_answers
from luthier.evaluate.model import EvaluatedModel

PROMPTS = ("A", "Which section is it, then?", "one two")
# The first begins the second: without the stop token it could never lose to it.
ANSWERS = ("World", "Worldwide", "no")
FAMILIES = ("qwen2", "gpt2", "mistral", "gemma2", "gpt_neox")


def load(family: str, tokenizer: Any) -> EvaluatedModel:
    return EvaluatedModel(build_model(family, dtype=torch.float32), tokenizer)


def encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@torch.no_grad()
def score_plainly(model: EvaluatedModel, prompt: str, answer: list[int]) -> float:
    """log p of all tokens of `answer` after `prompt`: no batch, no cache, no padding."""
    start = encode(model.tokenizer, prompt)
    logits = model.causal(torch.tensor([[*start, *answer]]), use_cache=False).logits[0]
    chances = logits.double().log_softmax(-1)
    return sum(float(chances[len(start) + k - 1, token]) for k, token in enumerate(answer))


@pytest.mark.parametrize("family", FAMILIES)
def test_likelihoods_equal_those_of_each_answer_alone(family: str, chat_tokenizer: Any) -> None:
    model = load(family, chat_tokenizer)
    stop = chat_tokenizer.eos_token_id
    answers = [[*encode(chat_tokenizer, answer), stop] for answer in ANSWERS]
    found = score_answers(model, PROMPTS, answers)
    expected = torch.tensor(
        [[score_plainly(model, prompt, answer) for answer in answers] for prompt in PROMPTS]
    )
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


def test_answers_of_one_token_need_one_forward_pass(chat_tokenizer: Any) -> None:
    model = load("qwen2", chat_tokenizer)
    found = score_answers(model, PROMPTS, [[7], [9]])
    expected = [[score_plainly(model, prompt, [token]) for token in (7, 9)] for prompt in PROMPTS]
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-4, rtol=1e-4)


@torch.no_grad()
def answer_plainly(model: EvaluatedModel, prompt: str, count: int) -> list[int]:
    """The likeliest token, `count` times, without a batch or a cache."""
    ids = encode(model.tokenizer, prompt)
    start = len(ids)
    while len(ids) < start + count:
        ids.append(int(model.causal(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] == model.tokenizer.eos_token_id:
            break
    return ids[start:]


def decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_gets_the_greedy_answers_of_its_prompts(family: str, chat_tokenizer: Any) -> None:
    model = load(family, chat_tokenizer)
    found = generate(model, PROMPTS, 12)
    expected = [decode(chat_tokenizer, answer_plainly(model, p, 12)) for p in PROMPTS]
    assert found == expected
    assert len(set(found)) > 1


def test_settings_that_the_model_brings_do_not_change_the_answers(chat_tokenizer: Any) -> None:
    model = load("qwen2", chat_tokenizer)
    expected = [decode(chat_tokenizer, answer_plainly(model, p, 12)) for p in PROMPTS]
    settings = model.causal.generation_config
    settings.do_sample, settings.temperature, settings.top_k = True, 5.0, 3
    settings.num_beams, settings.no_repeat_ngram_size = 3, 2
    settings.repetition_penalty, settings.min_new_tokens = 1.7, 9
    settings.suppress_tokens = list(range(40, 90))
    assert generate(model, PROMPTS, 12) == expected


def test_every_stop_token_of_the_model_ends_an_answer(chat_tokenizer: Any) -> None:
    model = load("qwen2", chat_tokenizer)
    long = answer_plainly(model, PROMPTS[1], 12)
    stop = next(token for token in long if token != long[0])
    model.causal.generation_config.eos_token_id = [2, stop]
    (short,) = generate(model, [PROMPTS[1]], 12)
    assert short == decode(chat_tokenizer, long[: long.index(stop) + 1])
    assert short != decode(chat_tokenizer, long)


def test_a_prompt_beyond_the_context_is_refused(chat_tokenizer: Any) -> None:
    model = load("gpt2", chat_tokenizer)
    with pytest.raises(DataError, match=r"250 tokens and 10 of answer .* 256"):
        generate(model, ["a" * 250], 10)


@dataclass
class WithoutTemplate:
    chat_template: None = None


def test_a_model_without_a_template_cannot_be_asked() -> None:
    example = Example("1", (Message("user", "hi", False),))
    with pytest.raises(ModelError, match="without a chat template"):
        render_prompt(EvaluatedModel(None, WithoutTemplate()), example)
