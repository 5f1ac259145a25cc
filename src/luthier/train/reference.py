"""What the reference model says to preference pairs: computed once, before training moves it.

A fresh adapter leaves the model as it was (B = 0) and full fine-tuning starts from the loaded
weights, so before the first step the model is its own reference. On top of a merged adapter the
reference is thus the merged model, not the base under it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from luthier.data.pair_batches import ScoredPair, pack_pairs
from luthier.data.pairs import TokenizedPair
from luthier.errors import DataError
from luthier.files import staged_directory
from luthier.models.packed import PackedModel
from luthier.models.quantize import QuantizedLinear
from luthier.objectives.answers import compute_answer_log_probs

# Without gradients a row may be long; attention costs what its answers cost, not its length.
ROW_TOKENS = 8192
FILE = "log_probs.npy"


@torch.no_grad()
def compute_reference_log_probs(
    model: PackedModel, pairs: Sequence[TokenizedPair], device: torch.device
) -> np.ndarray:
    """log p(chosen | prompt) and log p(rejected | prompt) in nats, (pairs, 2) float64.

    Call it before the first step (and before a checkpoint is loaded), under the autocast of the
    steps, so that both sides of a log-ratio are rounded alike.
    """
    training = model.training
    model.eval()
    found: list[np.ndarray] = []
    try:
        for row in _fill_rows(pairs):
            batch = pack_pairs(row, shared=model.shares_prompts).to(device)
            found.append(compute_answer_log_probs(model, batch).sums_S2.double().cpu().numpy())
    finally:
        model.train(training)
    return np.concatenate(found)


def load_or_compute_reference(
    model: PackedModel,
    pairs: Sequence[TokenizedPair],
    device: torch.device,
    folder: Path | None,
    model_digest: str,
) -> np.ndarray:
    """The same, from `folder` where an earlier run has left it there.

    Args:
        folder: holds one entry for each model and set of pairs; None stores nothing.
        model_digest: of the weights as they are before an adapter is put on them
            (`digest_weights`), and of what else decides how they are computed: the precision,
            how the weights are packed, and the configuration.
    """
    if folder is None:
        return compute_reference_log_probs(model, pairs, device)
    entry = folder / digest_reference(model_digest, pairs)
    if entry.exists():
        return _read(entry / FILE, len(pairs))
    computed = compute_reference_log_probs(model, pairs, device)
    with staged_directory(entry, existing="keep") as staged:
        np.save(staged / FILE, computed)
    # Of several processes all take the first one's: on a GPU the last digits may differ.
    return _read(entry / FILE, len(pairs))


def attach_reference(pairs: Sequence[TokenizedPair], log_probs: np.ndarray) -> list[ScoredPair]:
    """Each pair with its row of `log_probs`."""
    rows = zip(pairs, log_probs.tolist(), strict=True)
    return [ScoredPair(pair, chosen, rejected) for pair, (chosen, rejected) in rows]


def digest_reference(model_digest: str, pairs: Sequence[TokenizedPair]) -> str:
    """A name for what this model says to these pairs, in this order."""
    digest = hashlib.sha256(model_digest.encode())
    for pair in pairs:
        for ids in (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids):
            digest.update(len(ids).to_bytes(8, "big"))
            digest.update(ids.astype("<i4").tobytes())
    return digest.hexdigest()[:32]


def digest_weights(model: nn.Module) -> str:
    """SHA-256 over every parameter and buffer that the model would save, as they are now.

    A packed layer's scales are no part of what it saves: W and 2W have the same codes.
    """
    digest = hashlib.sha256()
    tensors = dict(model.state_dict())
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLinear):
            tensors |= {f"{name} {part}": tensor for part, tensor in module.list_scales().items()}
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat: Any = tensor.detach().contiguous().flatten().view(torch.uint8).cpu().numpy()
        digest.update(flat)
    return digest.hexdigest()


def _fill_rows(pairs: Sequence[TokenizedPair]) -> list[list[TokenizedPair]]:
    rows: list[list[TokenizedPair]] = []
    room = 0
    for pair in pairs:
        if not rows or pair.tokens > room:
            rows.append([])
            room = ROW_TOKENS
        rows[-1].append(pair)
        room -= pair.tokens
    return rows


def _read(file: Path, count: int) -> np.ndarray:
    try:
        found: np.ndarray = np.load(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: damaged ({error}). Remove its folder.") from error
    if found.shape != (count, 2):
        raise DataError(f"{file}: damaged (shape {found.shape}). Remove its folder.")
    return found
