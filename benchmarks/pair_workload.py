"""The preference pairs that both peers train on: text for TRL, the same tokens for Luthier."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import workload

from luthier.data.pairs import TokenizedPair
from luthier.models.load import load_tokenizer

PAIRS_PER_STEP = 4
ANSWER_MARK = "\n\nAssistant:"
CHANGES: dict[str, Any] = {
    "datasets": [{"path": "given apart", "ds_type": "jsonl", "type": "hh_rlhf"}],
    "micro_batch_size": PAIRS_PER_STEP,
}


class PairFiles(NamedTuple):
    texts: Path
    tokens: Path


def write_pairs(folder: Path, steps: int, source: Path) -> PairFiles:
    """The first hh-rlhf rows that fit, in their own order; the last turn is the answer."""
    tokenizer = load_tokenizer("embedded").tokenizer
    texts: list[dict[str, str]] = []
    ids: list[list[int]] = []
    with gzip.open(source, "rt", encoding="utf-8") as file:
        for line in file:
            if len(texts) == steps * PAIRS_PER_STEP:
                break
            text = _split(json.loads(line))
            parts = _tokenize(tokenizer, text) if text else None
            if text and parts:
                texts.append(text)
                ids += parts
    if len(texts) < steps * PAIRS_PER_STEP:
        raise SystemExit(f"{len(texts)} pairs in {source}: ask for fewer --steps.")
    files = PairFiles(folder / "pairs.jsonl", folder / "pairs.npz")
    files.texts.write_text("".join(f"{json.dumps(text)}\n" for text in texts), encoding="utf-8")
    np.savez(files.tokens, ids=np.concatenate(ids), lengths=[len(part) for part in ids])
    return files


def read_texts(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_pairs(path: Path) -> list[TokenizedPair]:
    with np.load(path) as file:
        cuts = np.cumsum(file["lengths"])[:-1]
        parts = np.split(file["ids"].astype(np.int32), cuts)
    starts = range(0, len(parts), 3)
    return [TokenizedPair(str(start // 3), *parts[start : start + 3]) for start in starts]


def count_tokens(pairs: list[TokenizedPair]) -> dict[str, int]:
    """Of the given pairs: laid out with a shared prompt, apart, and padded as TRL pads a step."""
    shared = sum(pair.tokens for pair in pairs)
    padded = 0
    for start in range(0, len(pairs), PAIRS_PER_STEP):
        step = pairs[start : start + PAIRS_PER_STEP]
        longest = max(len(p.prompt_ids) + max(len(p.chosen_ids), len(p.rejected_ids)) for p in step)
        padded += 2 * len(step) * longest
    return {
        "shared": shared,
        "apart": shared + sum(len(pair.prompt_ids) for pair in pairs),
        "padded": padded,
    }


def _split(row: dict[str, str]) -> dict[str, str] | None:
    end = row["chosen"].rindex(ANSWER_MARK) + len(ANSWER_MARK)
    prompt, chosen = row["chosen"][:end], row["chosen"][end:]
    if not row["rejected"].startswith(prompt):
        return None
    rejected = row["rejected"][end:]
    if not chosen.strip() or not rejected.strip() or chosen == rejected:
        return None
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _tokenize(tokenizer: Any, text: dict[str, str]) -> list[list[int]] | None:
    """Prompt, chosen and rejected; None where a token straddles a boundary or a row is too long."""
    prompt = tokenizer(text["prompt"])["input_ids"]
    parts = [prompt]
    for name in ("chosen", "rejected"):
        ids = tokenizer(text["prompt"] + text[name])["input_ids"] + [tokenizer.eos_token_id]
        if ids[: len(prompt)] != prompt or len(ids) > workload.LONGEST_TOKENS:
            return None
        parts.append(ids[len(prompt) :])
    return parts
