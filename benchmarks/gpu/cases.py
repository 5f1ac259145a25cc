"""What the parts train: a model's shape, a method, a length; who takes part, in which order.

Tokens of a step stay the same from length to length, so that what changes is the length alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from benchmarks.gpu.rows import Labelled

Method = Literal["lora", "dora", "qlora", "full", "dpo"]
Peer = Literal["luthier", "trl"]

RANK, ALPHA, LEARNING_RATE, SEED = 16, 32, 1e-4, 42
# Every linear layer of a block of Llama or Qwen2.
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_LORA: Mapping[str, Any] = {
    "adapter": "lora",
    "lora_r": RANK,
    "lora_alpha": ALPHA,
    "lora_target_modules": TARGETS,
}
# A recipe's keys.
METHODS: Mapping[Method, Mapping[str, Any]] = {
    "lora": _LORA,
    "dora": {**_LORA, "peft_use_dora": True},
    "qlora": {**_LORA, "adapter": "qlora", "load_in_4bit": True},
    "full": {},
    "dpo": {**_LORA, "rl": "dpo"},
}
# Tokens of a step, and measured steps of a turn.
STEP_TOKENS = {"8b": 4_096, "7b": 4_096, "1.5b": 8_192, "0.5b": 8_192, "tiny": 128}
TURN_STEPS = {"8b": 4, "7b": 4, "1.5b": 8, "0.5b": 10, "tiny": 2}


class Case(NamedTuple):
    """One cell: what is trained on rows of one length.

    Attributes:
        variant: whose contestants take part besides Luthier; nothing for the usual ones.
    """

    shape: str
    method: Method
    length: int
    labelled: Labelled = "all"
    variant: str = ""

    @property
    def name(self) -> str:
        half = ", half labelled" if self.labelled == "half" else ""
        variant = f", {self.variant}" if self.variant else ""
        return f"{self.shape} {self.method} {self.length}{half}{variant}"

    @property
    def rows(self) -> int:
        """Rows of a step, or pairs, of which each has two conversations of `length` tokens."""
        each = 2 * self.length if self.method == "dpo" else self.length
        return max(1, STEP_TOKENS[self.shape] // each)

    @property
    def step_tokens(self) -> int:
        """Tokens of a step: both conversations of a pair, each with the prompt."""
        return self.rows * self.length * (2 if self.method == "dpo" else 1)

    @property
    def passes(self) -> Literal[4, 6]:
        """FLOPs of a step for each weight and token: no gradient of a weight on a frozen base."""
        return 6 if self.method == "full" else 4


class Contestant(NamedTuple):
    """A peer as it is set for a race.

    Attributes:
        checkpointing: whether layers are worked out anew in the backward pass.
        options: what its process is built with; those with the same options share a process.
        needs: a module that must be installed.
    """

    title: str
    peer: Peer
    checkpointing: bool
    options: tuple[tuple[str, Any], ...] = ()
    needs: str = ""

    @property
    def process(self) -> tuple[Any, ...]:
        return (self.peer, *self.options)

    @property
    def is_installed(self) -> bool:
        modules = [*(["trl"] if self.peer == "trl" else []), *([self.needs] if self.needs else [])]
        return all(importlib.util.find_spec(module) is not None for module in modules)


LUTHIER = Contestant("Luthier", "luthier", False)
LUTHIER_CHECKPOINTING = Contestant("Luthier, checkpointing", "luthier", True)
TRL = Contestant("TRL", "trl", True)
TRL_NO_CHECKPOINTING = Contestant("TRL, no checkpointing", "trl", False)
MAIN = (LUTHIER, TRL, TRL_NO_CHECKPOINTING, LUTHIER_CHECKPOINTING)
# Luthier stores the reference's answers beforehand; TRL works them out in each step unless told.
# A process of its own, for which the larger models leave no room.
STORED = Contestant("TRL, reference stored", "trl", True, (("precomputed", True),))

VARIANTS: Mapping[str, Contestant] = {
    item.title: item
    for item in (
        Contestant("Luthier, determinism off", "luthier", False, (("deterministic", "off"),)),
        Contestant("Luthier, FlashAttention", "luthier", False, (("flash", True),), "flash_attn"),
        Contestant("TRL + Liger", "trl", True, (("liger", True),), "liger_kernel"),
        Contestant(
            "TRL + Liger, no checkpointing", "trl", False, (("liger", True),), "liger_kernel"
        ),
        Contestant("TRL + FlashAttention", "trl", True, (("flash", True),), "flash_attn"),
        Contestant("TRL, float32 base", "trl", True, (("dtype", "float32"),)),
        Contestant("TRL, bfloat16 weights", "trl", True, (("dtype", "bfloat16"),)),
        Contestant("TRL + torch.compile", "trl", True, (("compile", True),)),
    )
}


class Stop(NamedTuple):
    """Cases that the same processes go through one after the other."""

    shape: str
    method: Method
    lengths: tuple[int, ...]
    labelled: Labelled = "all"
    variants: tuple[str, ...] = ()

    @property
    def cases(self) -> tuple[Case, ...]:
        base = [Case(self.shape, self.method, n, self.labelled) for n in self.lengths]
        if not self.variants:
            return tuple(base)
        return tuple(
            case._replace(variant=title)
            for case in base
            for title in self.variants
            if VARIANTS[title].is_installed
        )


def list_contestants(case: Case) -> tuple[Contestant, ...]:
    """Who takes part, Luthier first; only those that are installed."""
    if case.variant:
        asked: tuple[Contestant, ...] = (LUTHIER, VARIANTS[case.variant])
    else:
        stored = case.method == "dpo" and case.shape not in ("7b", "8b")
        asked = (*MAIN, STORED) if stored else MAIN
    return tuple(item for item in asked if item.is_installed)


LENGTHS = (4_096, 512, 2_048, 8_192)
REST = (512, 2_048, 8_192)
# In order of importance: a first start answers what is asked first, later ones fill in.
STOPS = (
    Stop("8b", "lora", (4_096,)),
    Stop("8b", "qlora", (4_096,)),
    Stop("1.5b", "full", (4_096,)),
    Stop("1.5b", "dpo", (2_048,)),
    Stop("8b", "lora", (4_096,), variants=("Luthier, determinism off", "Luthier, FlashAttention")),
    Stop("8b", "dora", (4_096,)),
    Stop(
        "8b",
        "lora",
        (4_096,),
        variants=(
            "TRL + Liger",
            "TRL + Liger, no checkpointing",
            "TRL + FlashAttention",
        ),
    ),
    Stop("8b", "full", LENGTHS),
    Stop("8b", "lora", REST),
    Stop("0.5b", "full", LENGTHS),
    Stop("0.5b", "lora", LENGTHS),
    Stop("8b", "qlora", REST),
    Stop("1.5b", "full", REST),
    Stop("1.5b", "full", (4_096,), variants=("TRL, bfloat16 weights",)),
    Stop("8b", "dpo", (2_048, 512, 4_096)),
    Stop("1.5b", "dpo", (512, 4_096, 8_192)),
    Stop("8b", "lora", (4_096,), labelled="half"),
    Stop("8b", "lora", (512,), variants=("Luthier, FlashAttention", "TRL + FlashAttention")),
    Stop("7b", "lora", LENGTHS),
    Stop("1.5b", "lora", LENGTHS),
    Stop("8b", "dora", REST),
    Stop("0.5b", "dora", LENGTHS),
    Stop("0.5b", "qlora", LENGTHS),
    Stop("0.5b", "dpo", LENGTHS),
    Stop("1.5b", "dora", LENGTHS),
    Stop("1.5b", "qlora", LENGTHS),
    Stop("7b", "qlora", LENGTHS),
    Stop("8b", "dpo", (8_192,)),
    Stop("8b", "lora", (4_096,), variants=("TRL, float32 base",)),
    Stop("1.5b", "lora", (2_048,), variants=("TRL + torch.compile",)),
    Stop("0.5b", "full", (2_048,), variants=("TRL + torch.compile",)),
)
SMALL_STOPS = (
    Stop("tiny", "lora", (64, 32)),
    Stop("tiny", "full", (64,)),
    Stop("tiny", "dpo", (32,)),
    Stop("tiny", "lora", (64,), variants=("Luthier, determinism off",)),
)


def build_values(case: Case, model: str, *, checkpointing: bool, flash: bool) -> dict[str, Any]:
    """Luthier's recipe of a case; the rows are given apart."""
    return {
        "base_model": model,
        "datasets": [
            {
                "path": "given apart",
                "ds_type": "jsonl",
                "type": "hh_rlhf" if case.method == "dpo" else "chat_template",
            }
        ],
        "sequence_len": case.length,
        "micro_batch_size": case.rows,
        "max_steps": 1_000_000,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler": "constant",
        "seed": SEED,
        **METHODS[case.method],
        **({"gradient_checkpointing": True} if checkpointing else {}),
        **({"flash_attention": True} if flash else {}),
    }
