"""TRL's own collator and losses on random pairs, called as its trainers call them, in float64."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from torch import Tensor
from trl import DPOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from luthier.data.pairs import TokenizedPair


@contextlib.contextmanager
def keeping_float64() -> Generator[None]:
    """TRL rounds here and there with `.float()`; within the block float64 stays float64."""
    narrow = Tensor.float
    with patch.object(Tensor, "float", lambda t: t if t.dtype == torch.float64 else narrow(t)):
        yield


class Alone(SimpleNamespace):
    """As much of accelerate as the losses ask for, with one process."""

    device = torch.device("cpu")

    def gather(self, value: Any) -> Any:
        return value

    gather_for_metrics = gather


class WholeLogits:
    """A causal model that answers TRL's request for log-probabilities by their definition.

    TRL's own chunked head rounds to float32, which would hide a difference of its loss from ours.
    """

    def __init__(self, causal: Any) -> None:
        self.causal, self.training = causal, True

    def __call__(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **_: Any
    ) -> Any:
        logits = self.causal(input_ids, attention_mask=attention_mask, use_cache=False).logits
        if labels is None:  # earlier versions work them out from the logits themselves
            return SimpleNamespace(logits=logits)
        kept = labels[:, 1:] != -100
        picked = logits[:, :-1].log_softmax(-1).gather(2, labels[:, 1:, None].clamp(min=0))[..., 0]
        empty = torch.zeros_like(picked)
        return SimpleNamespace(
            log_probs=picked * kept, entropy=empty, mean_logits=empty, is_top1=empty.bool()
        )


def trl_dpo(
    causal: Any, pairs: list[TokenizedPair], reference_S2: Tensor, loss_type: str, beta: float
) -> tuple[Tensor, dict[str, float]]:
    """Loss and metrics of DPOTrainer with stored reference log-probabilities."""
    collate = DataCollatorForPreference(pad_token_id=0)
    inputs = collate(
        [
            {
                "prompt_ids": pair.prompt_ids.tolist(),
                "chosen_ids": pair.chosen_ids.tolist(),
                "rejected_ids": pair.rejected_ids.tolist(),
            }
            for pair in pairs
        ]
    )
    inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = reference_S2.unbind(1)
    metrics: dict[str, Any] = {"train": defaultdict(list)}
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True), accelerator=Alone(), beta=beta, ld_alpha=None,
        aux_loss_enabled=False, precompute_ref_logps=True, f_divergence_type="reverse_kl",
        loss_types=[loss_type], loss_weights=[1.0], label_smoothing=0.0, use_weighting=False,
        _metrics=metrics, _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    dpo: Any = DPOTrainer
    loss = dpo._compute_loss(trainer, WholeLogits(causal), inputs, False)
    return loss, {name: values[0] for name, values in metrics["train"].items()}


def trl_orpo(
    causal: Any, pairs: list[TokenizedPair], beta: float
) -> tuple[Tensor, dict[str, float]]:
    trainer: Any = ORPOTrainer.__new__(ORPOTrainer)
    _equip(trainer, beta)
    return ORPOTrainer.get_batch_loss_metrics(trainer, causal, _pad_pairs(pairs))


def trl_simpo(
    causal: Any, pairs: list[TokenizedPair], beta: float, gamma: float
) -> tuple[Tensor, dict[str, float]]:
    trainer: Any = CPOTrainer.__new__(CPOTrainer)
    _equip(trainer, beta)
    _set(trainer, loss_type="simpo", simpo_gamma=gamma, label_smoothing=0.0, alpha=0.0, cpo_alpha=0)
    return CPOTrainer.get_batch_loss_metrics(trainer, causal, _pad_pairs(pairs))


def trl_sigmoid(log_ratios_S2: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """CPOTrainer's sigmoid loss of given log-ratios: DPO's with smoothed labels."""
    trainer: Any = CPOTrainer.__new__(CPOTrainer)
    _equip(trainer, beta)
    _set(trainer, loss_type="sigmoid", label_smoothing=label_smoothing, alpha=0.0)
    log_ratios: Any = log_ratios_S2
    return CPOTrainer.cpo_loss(trainer, *log_ratios.unbind(1))[0]


def _equip(trainer: Any, beta: float) -> None:
    _set(
        trainer, accelerator=Alone(), beta=beta, is_encoder_decoder=False, aux_loss_enabled=False,
        padding_value=0, pad_token_id=0,
    )  # fmt: skip


def _set(trainer: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(trainer, name, value)


def _pad_pairs(pairs: list[TokenizedPair]) -> Any:
    """What the collator of ORPOTrainer and CPOTrainer makes of rows."""
    batch: dict[str, Tensor] = {}
    for kind in ("chosen", "rejected"):
        rows: dict[str, list[Tensor]] = defaultdict(list)
        for pair in pairs:
            prompt = torch.from_numpy(pair.prompt_ids).long()
            ids = torch.cat([prompt, torch.from_numpy(getattr(pair, f"{kind}_ids")).long()])
            rows["input_ids"].append(ids)
            rows["attention_mask"].append(torch.ones_like(ids))
            rows["labels"].append(ids.where(torch.arange(len(ids)) >= len(prompt), -100))
        for name, values in rows.items():
            batch[f"{kind}_{name}"] = torch.nn.utils.rnn.pad_sequence(
                values, batch_first=True, padding_value=-100 if name == "labels" else 0
            )
    return batch
