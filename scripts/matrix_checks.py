"""What a finished run of the kill matrix is held to: it learnt, it loads, it merges.

The expected logits are those of the model in the training process's own memory; beside them stands
PEFT, on a base that went through bitsandbytes where the run's was quantised.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matrix_techniques import STEPS_PER_EPOCH
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from luthier import api
from luthier.evaluate.model import load_model
from luthier.models.quantize import import_bitsandbytes
from luthier.recipe.load import load_recipe, parse_recipe
from luthier.train import run as training
from luthier.train.run import TrainOptions, train_recipe

bnb = import_bitsandbytes()
IDS = torch.arange(3, 27).reshape(2, 12)
# Sums in another order; float32 rounds to 6e-8.
TOLERANCE = 2e-5
# What packing may cost where a run's result is unpacked and the model in memory was not.
PACKING = 0.5


class Trained(NamedTuple):
    """Logits on IDS in the training process, before and after its result was saved."""

    before: Tensor
    after: Tensor
    moments: list[str]  # precisions of the optimizer's state


def train_remembering(recipe: dict[str, Any], output: Path, memory: Path) -> None:
    """Train without interruption and leave in `memory` what the trained model answers."""
    build_model, build_optimizer = training.build_model, training.build_optimizer
    save_result = training.save_result
    kept: dict[str, Any] = {}

    def keep_model(*given: Any, **named: Any) -> Any:
        built = build_model(*given, **named)
        kept["causal"] = built.causal
        return built

    def keep_optimizer(*given: Any, **named: Any) -> Any:
        kept["optimizer"] = build_optimizer(*given, **named)
        return kept["optimizer"]

    def save_and_ask(*given: Any) -> None:
        before = ask(kept["causal"])
        save_result(*given)
        moments = list_precisions(kept["optimizer"])
        torch.save(Trained(before, ask(kept["causal"]), moments)._asdict(), memory)

    training.build_model, training.build_optimizer = keep_model, keep_optimizer
    training.save_result = save_and_ask
    train_recipe(parse_recipe(recipe).recipe, output, TrainOptions())


@torch.no_grad()
def ask(causal: Any) -> Tensor:
    # One and the same attention on all sides: what is compared are weights.
    causal.set_attn_implementation("sdpa")
    return causal.eval()(IDS, use_cache=False).logits


def list_precisions(optimizer: Any) -> list[str]:
    states = optimizer.state.values()
    found = {str(t.dtype) for state in states for t in state.values() if isinstance(t, Tensor)}
    return sorted(found)


class Findings(NamedTuple):
    first_loss: float  # mean of the first epoch
    last_loss: float
    load_error: float  # largest, relative to the largest logit
    merge_error: float
    problems: list[str]


def check_run(
    recipe: dict[str, Any], output: Path, memory: Path, *, eight_bit_moments: bool
) -> Findings:
    """Hold a finished run to all of it."""
    trained = Trained(**torch.load(memory))
    losses = read_losses(output)
    first, last = mean(losses[:STEPS_PER_EPOCH]), mean(losses[-STEPS_PER_EPOCH:])
    problems: list[str] = []
    if not last < first:
        problems.append(f"the loss does not fall: {first:.4f} to {last:.4f}")
    if eight_bit_moments and "torch.uint8" not in trained.moments:
        problems.append(f"no moment is in 8 bit: {', '.join(trained.moments)}")
    untrained = ask(reference_of(recipe["base_model"]))
    if relative_error(trained.after, untrained) < 1e-3:
        problems.append("the trained model is the base model")
    loaded = ask(load_model(str(output)).causal)
    load_error = relative_error(loaded, trained.after)
    if (output / "adapter").exists():
        merge_error = check_adapter(output, trained, loaded, problems)
    else:
        merge_error = check_whole_model(recipe, output, trained, problems)
    if load_error > 0:
        problems.append(f"the loaded model answers otherwise by {load_error:.1e}")
    return Findings(first, last, load_error, merge_error, problems)


def check_adapter(output: Path, trained: Trained, loaded: Tensor, problems: list[str]) -> float:
    """Merge it; the merged model and PEFT's adapted one must answer as the trained model does."""
    merged = output.parent / "merged"
    api.merge(output, merged)
    plain = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
    merge_error = relative_error(ask(plain), trained.after)
    if merge_error > TOLERANCE:
        problems.append(f"the merged model answers otherwise by {merge_error:.1e}")
    peft_error = relative_error(ask(reference_of(str(output))), loaded)
    if peft_error > TOLERANCE:
        problems.append(f"PEFT answers otherwise by {peft_error:.1e}")
    return merge_error


def check_whole_model(
    recipe: dict[str, Any], output: Path, trained: Trained, problems: list[str]
) -> float:
    """The result is a model already; transformers must answer with it as the trained model does.

    ReLoRA on a quantised base keeps the full weights, so its result is held to the model in memory
    after the last merge exactly, and only loosely to the packed one before.
    """
    plain = AutoModelForCausalLM.from_pretrained(output / "model", dtype=torch.float32)
    if relative_error(ask(plain), trained.after) > 0:
        problems.append("transformers loads another model than was trained")
    error = relative_error(trained.after, trained.before)
    if error > (PACKING if recipe.get("load_in_4bit") else TOLERANCE):
        problems.append(f"merging at the end changes the answers by {error:.1e}")
    return error


def reference_of(name: str) -> Any:
    """The model in `name`, a base or a run with an adapter, loaded by transformers and PEFT."""
    recipe_file = Path(name) / "recipe.yaml"
    if not recipe_file.exists():
        return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    recipe = load_recipe(recipe_file).recipe
    model = reference_of(recipe.base_model)
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    if recipe.load_in_4bit or recipe.load_in_8bit:
        round_linear_layers(model, 4 if recipe.load_in_4bit else 8)
    # Not merged: on a head that is tied to the embedding that would change both.
    return PeftModel.from_pretrained(model, str(Path(name) / "adapter"))


@torch.no_grad()
def round_linear_layers(model: Any, bits: int) -> None:
    """What NF4 with double quantisation, or 8 bit, leaves of every linear layer but the head."""
    for module in model.modules():
        if not isinstance(module, nn.Linear | Conv1D) or module is model.get_output_embeddings():
            continue
        turned = isinstance(module, Conv1D)
        weight = (module.weight.T if turned else module.weight).contiguous()
        if bits == 8:
            codes, scales, _ = bnb.int8_vectorwise_quant(weight.half())
            rounded = bnb.int8_vectorwise_dequant(codes, scales)
        else:
            rounded = bnb.dequantize_4bit(
                *bnb.quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type="nf4")
            )
        module.weight.copy_(rounded.T if turned else rounded)


def read_losses(output: Path) -> list[float]:
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())
