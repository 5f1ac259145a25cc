"""LoRA, rsLoRA and DoRA beside PEFT's, and beside their equations written out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from peft import PeftModel

from luthier.adapters.attach_lora import find_layers, merge_lora
from verification.check import compare_named, largest, relative_error
from verification.layers import build_dropping_pair, build_pair, run_both, run_steps_in_both
from verification.models import build_model
from verification.peft_models import IDS, TARGETS, attach, logits, peft_name, peft_twin

KINDS = ("plain", "bias", "conv1d")
TOKENS = (1, 9)  # fewer than inputs and more: the layer computes in two ways


def compare_layer(method: str) -> float:
    """Output and every gradient of one layer, with and without dropout."""
    torch.manual_seed(0)
    differences: list[float] = []
    for kind in KINDS:
        for tokens in TOKENS:
            for build in (build_pair, build_dropping_pair):
                ours, peft = build(kind, method)
                found = run_both(ours.train(), peft.train(), tokens)
                differences += [relative_error(mine, theirs) for _, mine, theirs in found]
    return largest(differences)


def compare_steps(method: str) -> float:
    """The same after five steps of AdamW on both."""
    torch.manual_seed(0)
    differences: list[float] = []
    for kind in KINDS:
        ours, peft = build_pair(kind, method)
        run_steps_in_both(ours, peft, steps=5)
        differences += [relative_error(mine, theirs) for _, mine, theirs in run_both(ours, peft)]
    return largest(differences)


def compare_models(method: str) -> float:
    """Loss and every gradient of whole models."""
    differences: list[float] = []
    for family in TARGETS:
        ours = build_model(family)
        adapter = attach(ours, family, method)
        theirs = peft_twin(adapter, family, method)
        losses = [model.train()(IDS, labels=IDS).loss for model in (ours, theirs)]
        for loss in losses:
            loss.backward()
        found = {peft_name(name): p.grad for name, p in adapter.parameters.items()}
        expected = {n: p.grad for n, p in theirs.named_parameters() if p.requires_grad}
        differences += [
            relative_error(losses[0], losses[1]),
            compare_named(found, expected),  # type: ignore[arg-type]
        ]
    return largest(differences)


def compare_files(method: str) -> float:
    """Logits of our model and of one that PEFT loads from the files we wrote."""
    differences: list[float] = []
    for family in TARGETS:
        ours = build_model(family)
        with tempfile.TemporaryDirectory() as folder:
            attach(ours, family, method).save(Path(folder))
            theirs = PeftModel.from_pretrained(build_model(family), folder).double()
        differences.append(relative_error(logits(ours), logits(theirs.eval())))
    return largest(differences)


def compare_merged(method: str) -> float:
    """Every weight after merging, ours and PEFT's `merge_and_unload`."""
    differences: list[float] = []
    for family in TARGETS:
        ours = build_model(family)
        theirs = peft_twin(attach(ours, family, method), family, method).merge_and_unload()
        merge_lora(ours)
        assert not find_layers(ours)
        differences.append(compare_named(ours.state_dict(), theirs.state_dict()))
    return largest(differences)
