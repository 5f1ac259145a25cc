"""How likely a model finds each of several short answers to a prompt.

The prompt runs once; its keys and values are then shared by all answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from luthier.evaluate.generate import pad_left
from luthier.evaluate.model import EvaluatedModel


@torch.no_grad()
def score_answers(
    model: EvaluatedModel, prompts: Sequence[str], answers: Sequence[Sequence[int]]
) -> Tensor:
    """log p(answer | prompt) in nats, (prompts, answers) float32.

    Args:
        answers: token ids of each answer, the stop token included: without it a word that begins
            another one ("world", "worldwide") would be favoured.
    """
    inputs = pad_left(model, prompts, max(len(answer) for answer in answers))
    mask = inputs["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    head = model.causal(**inputs, position_ids=positions, use_cache=True, logits_to_keep=1)
    first = head.logits[:, -1].float().log_softmax(-1)  # (prompts, vocabulary)

    count, longest = len(answers), max(len(answer) for answer in answers)
    tokens = torch.zeros(count, longest, dtype=torch.long, device=model.device)
    real = torch.zeros(count, longest, dtype=torch.bool, device=model.device)
    for row, answer in enumerate(answers):
        tokens[row, : len(answer)] = torch.tensor(answer)
        real[row, : len(answer)] = True
    scores = first[:, tokens[:, 0]]
    if longest > 1:
        cache = head.past_key_values
        cache.batch_repeat_interleave(count)
        shown = tokens[:, :-1].repeat(len(prompts), 1)
        lengths = mask.sum(1).repeat_interleave(count)
        steps = torch.arange(longest - 1, device=model.device)
        rest = model.causal(
            input_ids=shown,
            attention_mask=torch.cat(
                [mask.repeat_interleave(count, 0), torch.ones_like(shown)], dim=1
            ),
            position_ids=lengths[:, None] + steps,
            past_key_values=cache,
        )
        wanted = tokens[:, 1:].repeat(len(prompts), 1)
        each = rest.logits.float().log_softmax(-1).gather(2, wanted[..., None]).squeeze(2)
        each = each * real[:, 1:].repeat(len(prompts), 1)
        scores = scores + each.sum(1).view(len(prompts), count)
    return scores
