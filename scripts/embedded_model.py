"""The embedded model: its shape, its loss, its validation, and how it is saved.

Shapes: `B` rows of a batch, `T` tokens of a sequence, `D` model width, `V` vocabulary.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from embedded_tokens import END_OF_TEXT, TURN_END, TURN_START
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from luthier.errors import DataError
from luthier.files import staged_directory, write_json
from luthier.objectives.cross_entropy import sum_linear_cross_entropy

LONGEST_TOKENS = 2048
VALIDATION_ROWS = 16  # of each source, of SEQUENCE_TOKENS each
SEQUENCE_TOKENS = 512

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class Shape(NamedTuple):
    width: int
    ffn_width: int
    layers: int
    heads: int
    kv_heads: int


EMBEDDED = Shape(width=256, ffn_width=704, layers=4, heads=4, kv_heads=2)
TINY = Shape(width=32, ffn_width=64, layers=2, heads=2, kv_heads=1)  # to try the loop


def build_model(tokenizer: str, shape: Shape = EMBEDDED) -> Qwen2ForCausalLM:
    """A new model with drawn weights, the same for the same shape and vocabulary."""
    parsed = Tokenizer.from_str(tokenizer)
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=parsed.get_vocab_size(),
            hidden_size=shape.width,
            intermediate_size=shape.ffn_width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=LONGEST_TOKENS,
            rope_theta=10_000.0,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=parsed.token_to_id(TURN_END),
            pad_token_id=parsed.token_to_id(END_OF_TEXT),
        )
    )


def load_model(folder: Path) -> Qwen2ForCausalLM:
    """Weights on disk, in float32."""
    return Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)


def compute_chunked_loss(model: Qwen2ForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood of a (B, T + 1) batch: for a processor, logits in its cache."""
    target_N = batch[:, 1:].flatten()
    with torch.autocast(batch.device.type, torch.bfloat16):
        hidden_ND = _compute_hidden(model, batch)
        return sum_linear_cross_entropy(model.lm_head, hidden_ND, target_N) / target_N.numel()


def compute_whole_loss(model: Qwen2ForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """The same for a GPU, where chunks of a cache's size would be thousands of small kernels.

    Of 65,536 tokens the logits take 1 GiB in bfloat16. In float32 they need not be written once
    this is compiled: the loss and its gradient are one kernel each.
    """
    with torch.autocast(batch.device.type, torch.bfloat16):
        logits_NV = model.lm_head(_compute_hidden(model, batch))
    return functional.cross_entropy(logits_NV.float(), batch[:, 1:].flatten())


def _compute_hidden(model: Qwen2ForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """(N, D): what the head sees, of all tokens but the last of each row."""
    # Causal and no more. Left out, the mask would be drawn up as a tensor when compiled, and
    # attention would go without its fastest kernels, which take none.
    no_mask = {"full_attention": None}
    output = model.model(input_ids=batch[:, :-1], attention_mask=no_mask, use_cache=False)
    return output.last_hidden_state.flatten(0, 1)


@torch.no_grad()
def compute_validation_loss(
    model: Qwen2ForCausalLM, validation: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Mean negative log-likelihood in nats per token, source by source, in float32.

    Of each source the first VALIDATION_ROWS × SEQUENCE_TOKENS held-out tokens, or as many whole
    rows as there are; a source with less than a row is one shorter row.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    losses: dict[str, float] = {}
    for name, tokens in validation.items():
        if len(tokens) < 2:
            raise DataError(f"{name}: nothing is held out. Give it more documents.")
        length = min(SEQUENCE_TOKENS, len(tokens))
        rows = min(VALIDATION_ROWS, max(1, (len(tokens) - 1) // length))
        cut = torch.from_numpy(tokens[: rows * length].astype(np.int64))
        batch = cut.view(rows, length).to(device)
        losses[name] = float(model(input_ids=batch, labels=batch, use_cache=False).loss)
    model.train(was_training)
    return losses


def copy_weights(model: Qwen2ForCausalLM) -> dict[str, torch.Tensor]:
    """The weights in bfloat16 in host memory: what would be saved now."""
    weights = model.state_dict()
    return {name: tensor.to("cpu", torch.bfloat16) for name, tensor in weights.items()}


def save_model(
    config: Qwen2Config,
    weights: dict[str, torch.Tensor],
    tokenizer: str,
    record: dict[str, Any],
    output: Path,
) -> None:
    """Write a model folder in one go: weights, tokenizer and training.json.

    What else is in `output`, such as a model's card, stays.
    """
    model = Qwen2ForCausalLM(config)
    model.load_state_dict(weights)
    model.tie_weights()
    with staged_directory(output) as folder:
        if output.exists():
            shutil.copytree(output, folder, dirs_exist_ok=True)
        model.to(torch.bfloat16).save_pretrained(folder)
        _save_tokenizer(tokenizer, folder)
        write_json(folder / "training.json", record)
        (folder / "model.safetensors").chmod(0o644)  # it is written for its owner alone


def _save_tokenizer(tokenizer: str, folder: Path) -> None:
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer),
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START],
        model_max_length=LONGEST_TOKENS,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)
