"""Train the embedded base model from scratch and write it into the package.

    python scripts/pretrain_embedded.py --data ../shared/data --minutes 80

Takes a GPU where there is one. The length is a time budget: the learning rate follows the clock,
so that the run always ends annealed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from embedded_corpus import TEXTS
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from luthier.objectives.cross_entropy import sum_linear_cross_entropy

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY_SIZE = 8192
SEQUENCE_TOKENS = 512
HELD_OUT_EVERY = 100  # one document in a hundred is for validation

# Qwen2's own pattern: every digit is a token, so that numbers can be copied and computed.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class Corpus(NamedTuple):
    training: dict[str, np.ndarray]  # source → tokens, one after the other
    validation: dict[str, np.ndarray]


def train_tokenizer(documents: dict[str, list[str]]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def balanced_sample(characters: int = 2_500_000):
        for texts in documents.values():
            used = 0
            for text in texts:
                yield text
                used += len(text)
                if used > characters:
                    break

    tokenizer.train_from_iterator(balanced_sample(), trainer)
    return tokenizer


def tokenize(tokenizer: Tokenizer, documents: dict[str, list[str]]) -> Corpus:
    end = tokenizer.token_to_id(END_OF_TEXT)
    training: dict[str, np.ndarray] = {}
    validation: dict[str, np.ndarray] = {}
    for name, texts in documents.items():
        parts: tuple[list[int], list[int]] = ([], [])
        for start in range(0, len(texts), 2000):
            for offset, encoding in enumerate(tokenizer.encode_batch(texts[start : start + 2000])):
                held_out = (start + offset) % HELD_OUT_EVERY == 0
                parts[held_out].extend([*encoding.ids, end])
        training[name] = np.array(parts[0], dtype=np.int16)
        validation[name] = np.array(parts[1], dtype=np.int16)
        print(f"{name}: {len(parts[0]):,} training tokens, {len(parts[1]):,} held out", flush=True)
    return Corpus(training, validation)


def draw_batch(corpus: Corpus, rows: int, rng: np.random.Generator) -> torch.Tensor:
    """(rows, SEQUENCE_TOKENS + 1) token ids, each row a window of a source drawn by its share."""
    names = list(corpus.training)
    shares = np.array([TEXTS[name].share for name in names])
    batch = np.empty((rows, SEQUENCE_TOKENS + 1), dtype=np.int64)
    for row, choice in enumerate(rng.choice(len(names), size=rows, p=shares / shares.sum())):
        tokens = corpus.training[names[choice]]
        start = rng.integers(0, len(tokens) - SEQUENCE_TOKENS - 1)
        batch[row] = tokens[start : start + SEQUENCE_TOKENS + 1]
    return torch.from_numpy(batch)


def build_model(tokenizer: Tokenizer, start: Path | None) -> Qwen2ForCausalLM:
    """A new model, or the one in `start` to train on."""
    torch.manual_seed(0)
    if start is not None:
        return Qwen2ForCausalLM.from_pretrained(start, dtype=torch.float32)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            rope_theta=10_000.0,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.token_to_id(TURN_END),
            pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
        )
    )


def build_optimizers(model: Qwen2ForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embeddings, norms and biases."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(
            matrices, lr=3e-3, weight_decay=0.05, adjust_lr_fn="match_rms_adamw", nesterov=True
        ),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def learning_rate_factor(progress: float) -> float:
    """Warm up over 2%, hold, then fall linearly to zero over the last 55% (as a share of 1)."""
    if progress < 0.02:
        return progress / 0.02
    return min(1.0, (1.0 - progress) / 0.55)


@torch.no_grad()
def compute_validation_loss(model: Qwen2ForCausalLM, corpus: Corpus) -> dict[str, float]:
    """Mean negative log-likelihood in nats per token, source by source."""
    model.eval()
    device = next(model.parameters()).device
    losses: dict[str, float] = {}
    for name, tokens in corpus.validation.items():
        rows = min(16, (len(tokens) - 1) // SEQUENCE_TOKENS)
        cut = torch.from_numpy(tokens[: rows * SEQUENCE_TOKENS].astype(np.int64))
        batch = cut.view(rows, SEQUENCE_TOKENS).to(device)
        losses[name] = float(model(input_ids=batch, labels=batch).loss)
    model.train()
    return losses


def train(model: Qwen2ForCausalLM, corpus: Corpus, options: argparse.Namespace) -> dict:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    optimizers = build_optimizers(model)
    base_rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    rng, rows = np.random.default_rng(options.seed), options.rows
    started, step, losses = time.monotonic(), 0, []
    while (progress := (time.monotonic() - started) / (60 * options.minutes)) < 1:
        for optimizer, rate in zip(optimizers, base_rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * learning_rate_factor(progress)
        batch = draw_batch(corpus, rows, rng).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            hidden = model.model(input_ids=batch[:, :-1]).last_hidden_state
            total = sum_linear_cross_entropy(
                model.lm_head, hidden.flatten(0, 1), batch[:, 1:].flatten()
            )
        loss = total / batch[:, 1:].numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        losses.append(loss.item())
        if step % 50 == 0:
            seconds = time.monotonic() - started
            print(
                f"step {step} {100 * progress:.1f}% loss {np.mean(losses[-50:]):.4f} "
                f"{step * rows * SEQUENCE_TOKENS / seconds:.0f} tokens/s",
                flush=True,
            )
        if step % 250 == 0:
            print("validation", compute_validation_loss(model, corpus), flush=True)
            save_weights(model, options.output)
    return {
        "steps": step,
        "tokens": step * rows * SEQUENCE_TOKENS,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "device": describe_device(device),
        "validation_loss_nats_per_token": compute_validation_loss(model, corpus),
    }


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def save_weights(model: Qwen2ForCausalLM, output: Path) -> None:
    copy = Qwen2ForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.tie_weights()
    copy.to(torch.bfloat16).save_pretrained(output)


def save_tokenizer(tokenizer: Tokenizer, output: Path) -> None:
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START],
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--minutes", type=float, default=80.0)
    parser.add_argument("--rows", type=int, default=16, help="sequences of 512 tokens a step")
    parser.add_argument("--start", type=Path, help="go on from the weights in this folder")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the data")
    parser.add_argument("--output", type=Path, default=Path("src/luthier/models/embedded"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    documents = {name: list(source.read(options.data)) for name, source in TEXTS.items()}
    tokenizer = train_tokenizer(documents)
    save_tokenizer(tokenizer, options.output)
    corpus = tokenize(tokenizer, documents)
    del documents
    model = build_model(tokenizer, options.start)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    record = train(model, corpus, options)
    save_weights(model, options.output)
    assert math.isfinite(sum(record["validation_loss_nats_per_token"].values()))
    (options.output / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
