"""The planned optimizer and base beside what the real ones hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from plan_cases import make_workload
from tiny_models import build_model

from luthier.adapters.full import attach_full
from luthier.models.quantize import Quantization, QuantizedLinear, quantize_model
from luthier.optim.state_size import measure_state_bytes
from luthier.plan.memory.number_formats import Formats
from luthier.plan.memory.optimizer import measure_optimizer_for_model
from luthier.plan.memory.weights import Packing, measure_weights
from luthier.plan.model.model_config import facts_from_config
from luthier.plan.model.model_facts import ModelFacts
from luthier.train.build import build_optimizer

FLOAT32 = Formats(4, 4, 4)
# Large enough for 8-bit states, whose tensors have at least 4096 weights.
SHAPE: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 160, "head_dim": 16, "num_attention_heads": 4
}  # fmt: skip


def facts_of(model: Any, family: str) -> ModelFacts:
    return facts_from_config(family, {**model.config.to_dict(), "model_type": family}, "")


@pytest.mark.parametrize(
    "keys",
    [
        {"optimizer": "adamw_torch_fused"},
        {"optimizer": "adamw_bnb_8bit"},
        {"optimizer": "galore_adamw", "galore_rank": 8},
        {"optimizer": "galore_adamw", "galore_rank": 8, "galore_proj_type": "reverse_std"},
        {"optimizer": "galore_adamw", "galore_rank": 8, "galore_target_modules": ["mlp"]},
        {"optimizer": "galore_adamw", "galore_rank": 8, "galore_target_modules": ["q_proj"]},
        {"optimizer": "galore_adamw_8bit", "galore_rank": 48},
        {"optimizer": "apollo_adamw", "apollo_rank": 8},
        {"optimizer": "apollo_adamw", "apollo_rank": 8, "apollo_proj": "svd"},
        {"optimizer": "apollo_mini_adamw"},
        {"optimizer": "fira_adamw", "fira_rank": 8, "fira_proj_type": "full"},
    ],
    ids=lambda keys: " ".join(str(value) for value in keys.values()),
)
def test_state_is_what_the_real_optimizer_holds(keys: dict[str, Any]) -> None:
    model = build_model("qwen2", dtype=torch.float32, **SHAPE)
    facts = facts_of(model, "qwen2")
    recipe = make_workload(facts, 16, **keys).recipe
    adapter = attach_full(model)
    optimizer = build_optimizer(recipe, adapter, model)
    for parameter in adapter.parameters.values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    planned = measure_optimizer_for_model(recipe, facts, FLOAT32, on_cpu=True).state
    assert planned == pytest.approx(measure_state_bytes(optimizer), rel=0.01)


@pytest.mark.parametrize(
    "packing",
    [Packing(4), Packing(4, double=False), Packing(8)],
    ids=["nf4 double", "nf4", "8 bit"],
)
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_a_packed_base_is_as_large_as_the_real_one(packing: Packing, family: str) -> None:
    shape = {"n_embd": 256} if family == "gpt2" else {**SHAPE, "hidden_size": 256, "head_dim": 64}
    model = build_model(family, dtype=torch.bfloat16, **shape)
    quantize_model(model, Quantization(4 if packing.bits == 4 else 8, double=packing.double))
    real = sum(p.numel() * p.element_size() for p in model.parameters())
    for module in model.modules():
        if isinstance(module, QuantizedLinear):
            # Not the table of codes: its size does not grow with the layer's.
            real += sum(
                scale.numel() * scale.element_size()
                for name, scale in module.list_scales().items()
                if name.endswith(("absmax", "scales"))
            )
    planned = measure_weights(facts_of(model, family), 2, packing).total
    assert planned == pytest.approx(real, rel=0.005)
