"""A causal language model as training needs it: packed rows in, hidden states at labels out.

Four things differ from family to family: whether attention can be kept inside each example of a
packed row, whether two answers can share one prompt there, whether the logits are nothing but
`head(hidden)`, and whether the last layer can be left out where no label is. None is taken on
trust: each is tried once on a few tokens and compared with the model's plain answer.

Shapes: `T` tokens of the row, `N` supervised positions, `D` model width, `V` vocabulary.
"""

from __future__ import annotations

import contextlib
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from luthier import device
from luthier.data.batches import PackedBatch
from luthier.errors import ModelError
from luthier.models.attention import PACKED_ATTENTION
from luthier.models.even_rows import compiles_by_shape, fill_row
from luthier.models.last_layer import LabelledLastLayer, find_last_layer


class PackedModel(nn.Module):
    """Wraps a transformers causal model; `causal` is the model itself, as it will be saved.

    Rows may consist of trunks and their branches (`branches`, see models/attention.py) where
    `shares_prompts` is true.

    Args:
        wanted: transformers' name of the attention to try first; `attention` tells which it became.
        autocast: what products will be worked out in, where that is not the weights' precision.
    """

    def __init__(
        self, causal: Any, wanted: str | None = None, autocast: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.causal = causal
        with device.exact_products():  # rounded ones would differ by more than what is looked for
            self.attention = _choose_attention(causal, wanted, autocast)
            with _as_in_training(causal, self.attention, autocast):
                self.shares_prompts = _shares_prompts(causal, self.attention)
                self.head_is_plain = _head_is_plain(causal)
                self._last_layer = _shorten_last_layer(causal, self.attention)

    @property
    def head(self) -> nn.Module:
        return self.causal.get_output_embeddings()

    def hidden_states(self, batch: PackedBatch, branches: int = 0) -> Tensor:
        """(N, D): the last hidden states where a label is; only for a plain head."""
        labels = len(batch.label_positions)
        batch = self._even(batch, branches)
        arguments = self._arguments(batch, branches)
        if self._last_layer is not None:
            with self._last_layer.keeping(batch.label_positions):
                return self.causal.base_model(**arguments).last_hidden_state[0, :labels]
        hidden_1TD = self.causal.base_model(**arguments).last_hidden_state
        return hidden_1TD[0].index_select(0, batch.label_positions[:labels])

    def logits(self, batch: PackedBatch, branches: int = 0) -> Tensor:
        """(N, V): the model's own logits where a label is, for any family."""
        labels = len(batch.label_positions)
        batch = self._even(batch, branches)
        arguments = self._arguments(batch, branches)
        logits_1NV = self.causal(**arguments, logits_to_keep=batch.label_positions).logits
        return logits_1NV[0, :labels]

    def _even(self, batch: PackedBatch, branches: int) -> PackedBatch:
        embedding = self.causal.get_input_embeddings().weight
        return fill_row(batch, branches) if compiles_by_shape(embedding) else batch

    def _arguments(self, batch: PackedBatch, branches: int) -> dict[str, Any]:
        assert not branches or self.shares_prompts, "this family needs each answer on its own"
        return _arguments(batch, self.attention, branches)


def _arguments(batch: PackedBatch, attention: str, branches: int = 0) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids,
        "use_cache": False,
    }
    if attention == PACKED_ATTENTION:
        arguments["segment_lengths"] = batch.lengths
        if branches:
            arguments["branches"] = branches
    elif _is_flash(attention):
        # Told, not found: each layer would look for them in the positions, and wait for the device.
        ends = torch.tensor([0, *accumulate(batch.lengths)], dtype=torch.int32)
        boundaries, longest = ends.to(batch.input_ids.device), max(batch.lengths)
        arguments |= {"cu_seq_lens_q": boundaries, "cu_seq_lens_k": boundaries}
        arguments |= {"max_length_q": longest, "max_length_k": longest}
    return arguments


def _is_flash(attention: str) -> bool:
    return attention.startswith("flash")


def _as_in_training(
    model: Any, attention: str, autocast: torch.dtype | None
) -> contextlib.AbstractContextManager[object]:
    """FlashAttention refuses float32, which the weights may be where autocast rounds products.

    The others are tried in the weights' own precision, which shows more.
    """
    if autocast is None or not _is_flash(attention):
        return contextlib.nullcontext()
    return torch.autocast(model.device.type, autocast)


def _probe_batch(model: Any) -> PackedBatch:
    """Two examples of 3 and 5 tokens."""
    lengths = (3, 5)
    ids = torch.arange(8, device=model.device) % model.config.get_text_config().vocab_size
    positions = torch.cat([torch.arange(n, device=model.device) for n in lengths])
    everywhere = torch.arange(8, device=model.device)
    return PackedBatch(ids[None], positions[None], everywhere, ids, lengths)


def is_honoured(wanted: str | None, attention: str) -> bool:
    """Whether a model with `attention` has the one that was asked for.

    Ours calls PyTorch's own (`sdpa`), once for each example.
    """
    ours = attention == PACKED_ATTENTION
    return wanted is None or attention == wanted or (ours and wanted == "sdpa")


def _choose_attention(model: Any, wanted: str | None, autocast: torch.dtype | None) -> str:
    """The first attention under which packed logits equal those of the examples one by one."""
    batch = _probe_batch(model)
    configured = model.config._attn_implementation
    candidates = _list_candidates(model, configured)
    if wanted == "eager":
        candidates = ["eager"]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model.set_attn_implementation(candidates[-1])
            expected = torch.cat(
                [model(part, use_cache=False).logits for part in batch.input_ids.split((3, 5), 1)],
                dim=1,
            )
            if not bool(torch.isfinite(expected).all()):
                raise ModelError(
                    f"{model.config.model_type}: the model's answers are not numbers. Its weights "
                    "are damaged, or overflow in this precision; write bf16: false."
                )
            for candidate in candidates:
                try:
                    model.set_attn_implementation(candidate)
                    with _as_in_training(model, candidate, autocast):
                        logits = model(**_arguments(batch, candidate)).logits
                except torch.OutOfMemoryError:
                    raise
                except (ValueError, TypeError, ImportError, RuntimeError):
                    # This family does not offer this attention, or refuses its arguments.
                    continue
                if _close(logits, expected):
                    return candidate
    finally:
        model.train(training)
    raise ModelError(
        f"{model.config.model_type}: this family cannot keep attention inside each example of a "
        "packed row, so it cannot be trained here. Please report it with the model's name."
    )


def _shares_prompts(model: Any, attention: str) -> bool:
    """True when two answers laid after one prompt get the logits that each gets by itself."""
    if attention != PACKED_ATTENTION:
        return False
    ids = torch.arange(9, device=model.device)[None] % model.config.get_text_config().vocab_size
    # A trunk of 3 tokens, branches of 2 and 4.
    positions = torch.tensor([[*range(5), *range(3, 7)]], device=model.device)
    row = PackedBatch(ids, positions, positions[0], ids[0], (3, 2, 4))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            near = model(ids[:, :5], use_cache=False).logits
            far = model(torch.cat([ids[:, :3], ids[:, 5:]], 1), use_cache=False).logits
            found = model(**_arguments(row, attention, branches=2)).logits
            return _close(found, torch.cat([near, far[:, 3:]], 1))
    except (ValueError, TypeError, RuntimeError):
        # A family whose masks or positions do not bear a row of another shape.
        return False
    finally:
        model.train(training)


def _list_candidates(model: Any, configured: str) -> list[str]:
    """Attentions worth trying, the best first; the last is the reference, which every family has.

    What the trial on eight tokens cannot see is decided here: a soft cap is the identity on small
    scores, and a window or chunk longer than the trial hides nothing.
    """
    text_config = model.config.get_text_config()
    if getattr(text_config, "attn_logit_softcapping", None):
        return ["eager"]
    kinds = set(getattr(text_config, "layer_types", None) or ())
    chunked = getattr(text_config, "attention_chunk_size", None)
    flash = [configured] if _is_flash(configured) else []
    if chunked or kinds - {"full_attention", "sliding_attention"}:
        return [*flash, "sdpa", "eager"]
    return [*flash, PACKED_ATTENTION, "sdpa", "eager"]


def _head_is_plain(model: Any) -> bool:
    """True when logits = head(hidden): no soft-capping or scaling comes after."""
    head = model.get_output_embeddings()
    text_config = model.config.get_text_config()
    # On small logits a cap is almost the identity, so the trial below would not see it.
    capped = getattr(text_config, "final_logit_softcapping", None) is not None
    if head is None or capped:
        return False
    ids = torch.arange(4, device=model.device)[None] % text_config.vocab_size
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            output = model.base_model(input_ids=ids, use_cache=False)
            logits = model(input_ids=ids, use_cache=False).logits
            hidden = getattr(output, "last_hidden_state", None)
            if hidden is None or hidden.shape[-1] != getattr(head, "in_features", None):
                return False
            return _close(head(hidden), logits)
    finally:
        model.train(training)


def _shorten_last_layer(model: Any, attention: str) -> LabelledLastLayer | None:
    """The last layer kept to labelled positions, where that gives the same hidden states."""
    layer = find_last_layer(model.base_model)
    if layer is None:
        return None
    batch = _probe_batch(model)
    positions = batch.label_positions[1::2]
    training = model.training
    model.eval()
    shortened = LabelledLastLayer(layer)
    try:
        with torch.no_grad():
            arguments = _arguments(batch, attention)
            expected = model.base_model(**arguments).last_hidden_state[0, positions]
            with shortened.keeping(positions):
                hidden = model.base_model(**arguments).last_hidden_state[0]
            if hidden.shape == expected.shape and _close(hidden, expected):
                return shortened
    except (TypeError, ValueError, RuntimeError, AttributeError):
        # A layer of the same parts that puts them together in another way.
        pass
    finally:
        model.train(training)
    shortened.restore()
    return None


def _close(logits: Tensor, expected: Tensor) -> bool:
    # Families round their softmax and their rotations to float32, in a float64 model too.
    coarser = min(logits.dtype, expected.dtype, key=lambda dtype: dtype.itemsize)
    tolerance = {torch.float64: 1e-5, torch.float32: 1e-4}.get(coarser, 0.06)
    return bool((logits - expected).abs().max() <= tolerance * expected.abs().max())
