"""The whole of fine-tuning in a hundred flat lines: read it from top to bottom.

    python examples/minimal_loop.py [STEPS] [FOLDER]

A small model learns to write Elle briefings with LoRA. Every piece is one that `luthier train`
itself uses; what a real run adds is written down at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from luthier.adapters.attach_lora import LoraTargets, attach_lora
from luthier.adapters.lora import LoraSettings
from luthier.data.batches import BatchPlan, pack
from luthier.data.elle import elle_example, generate_elle
from luthier.data.tokenize import TokenizeOptions, tokenize_examples
from luthier.evaluate.generate import generate, render_prompt
from luthier.evaluate.model import EvaluatedModel
from luthier.models.load import load_base_model, load_tokenizer
from luthier.models.packed import PackedModel
from luthier.objectives.sft import sum_sft_loss
from luthier.optim.adamw import AdamSettings, build_adamw
from luthier.optim.groups import GroupSettings, build_groups
from luthier.optim.schedules import Schedule
from luthier.seeding import seed_everything, seed_step

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("runs/minimal-loop/adapter")
SEED = 1

# The model that comes with the package. On a GPU its frozen weights would be bfloat16.
tokenizer = load_tokenizer("embedded").tokenizer
causal = load_base_model("embedded", dtype=torch.float32)

# Conversations: the situation of a country, and the briefing that an analyst writes about it.
rows = list(generate_elle("basic", "compact", count=97, seed=7))
examples = [elle_example(row, where=f"elle:{number}") for number, row in enumerate(rows)]
held_out, training = examples[0], examples[1:]

# Tokens, and a mask that is true on the answer and its stop token: the prompt is not to be learnt,
# and a model that never saw a stop token in training would not know when to end.
data = tokenize_examples(training, tokenizer, TokenizeOptions(sequence_len=512)).examples

# Which examples stand in which step is a function of the seed: a resumed run needs nothing saved.
plan = BatchPlan(
    [len(example.input_ids) for example in data],
    micro_batch_size=4,
    accumulation=2,
    seed=SEED,
    sequence_len=512,
)

# Wrapped, the model takes examples laid end to end in one row, without padding. Each attends to
# itself alone, which is tried on a few tokens here and not taken on trust.
model = PackedModel(causal)

# The base is frozen; beside each linear layer W stand two thin matrices, W + (alpha/rank)·B·A.
# B starts at zero, so training begins exactly at the base model.
seed_everything(SEED)
adapter = attach_lora(
    causal,
    LoraSettings(rank=8, alpha=16, dropout=0.05),
    LoraTargets(names=None, all_linear=True),
    base_model="embedded",
)
trained = sum(parameter.numel() for parameter in adapter.parameters.values())
print(f"{trained:,} trained parameters, {len(data)} examples")

# Groups say which rate and decay each tensor has; with loraplus_ratio B would move faster than A.
groups = build_groups(adapter.parameters, adapter.roles, GroupSettings(5e-3, weight_decay=0.01))
optimizer = build_adamw(groups, AdamSettings())
peak_rates = [group["lr"] for group in optimizer.param_groups]
# Adam's averages are wrong at first, so the rate warms up; at the end it falls, to settle.
schedule = Schedule("cosine", total_steps=STEPS, warmup_steps=STEPS // 10, floor=0.1)

model.train()
for step in range(STEPS):
    # Dropout draws from the step's own seed: the same numbers, resumed or not.
    seed_step(SEED, step, process=0)
    for group, peak in zip(optimizer.param_groups, peak_rates, strict=True):
        group["lr"] = peak * schedule.factor(step)
    micro_batches = plan.micro_batches_of_step(step)
    # One divisor for the whole step. A mean of the micro-batches' means would give a token in a
    # short answer more weight than one in a long answer.
    supervised = sum(data[i].supervised_tokens for batch in micro_batches for i in batch)
    loss = 0.0
    for indices in micro_batches:
        part = sum_sft_loss(model, pack([data[i] for i in indices])) / supervised
        part.backward()  # at once, so that only one micro-batch's activations are ever held
        loss += float(part.detach())
    # One wild batch must not undo the steps before it.
    norm = torch.nn.utils.clip_grad_norm_(adapter.parameters.values(), max_norm=1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    adapter.refresh()  # whatever follows from the weights and is kept, such as DoRA's norm
    print(f"step {step + 1:3d}  loss {loss:.4f}  grad norm {float(norm):.2f}")

# Text comes token by token, from a cache: that needs the family's own attention again.
causal.set_attn_implementation("sdpa")
finished = EvaluatedModel(causal.eval(), tokenizer)
(answer,) = generate(finished, [render_prompt(finished, held_out)], max_new_tokens=96)
print(f"\n{held_out.messages[-2].content}\n\n{answer}\n")

# PEFT's own format: PeftModel.from_pretrained(base, FOLDER) gives the same model. The tokenizer
# goes with it, for an adapter without the chat template it was trained on answers badly.
adapter.save(FOLDER)
tokenizer.save_pretrained(FOLDER)
print(f"adapter in {FOLDER}")

# What `luthier train` adds: validation, checkpoints that survive a kill at any instruction, metrics
# on disk, several devices, and a refusal with a reason where this file would raise a traceback.
