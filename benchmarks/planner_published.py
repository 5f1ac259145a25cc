"""The planner beside other published measurements than those that it was made with.

    python benchmarks/planner_published.py       prints every row

Figures are typed in from the pages that are named, and no constant of the planner is fitted to
them. What a page does not tell is taken as its repository's default.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from planner_rows import build_row_workload
from planner_short_steps import LENGTHS, read_qwen

from luthier.plan.machine.devices import find_device
from luthier.plan.machine.hardware import Machine, Sharding
from luthier.plan.memory.estimate import estimate_memory
from luthier.plan.model.architectures import facts_from_config
from luthier.plan.model.model_facts import ModelFacts
from luthier.plan.time.step_time import count_step_tokens, estimate_step
from luthier.plan.work.workload import Engine, Workload

Quantity = Literal["allocated", "shown", "tokens/s"]
GB_IN_GIB = 1e9 / 2**30
FAR = 0.15

LITGPT = "LitGPT, tutorials/resource-tables.md"
QWEN = "QwenLM/Qwen, README.md, Profiling of Memory and Speed"
FACTORY = "LLaMA-Factory, wiki, Performance comparison"
PEFT = "PEFT, docs/source/accelerate/fsdp.md and deepspeed.md"
FOUNDRY = "MosaicML llm-foundry, scripts/train/benchmarking/README.md"
TITAN = "torchtitan, docs/performance.md"
FSDP = "IBM fms-fsdp, README.md"
TUNE = "torchtune, README.md, Memory and training speed"

WHY: Mapping[str, str] = {
    LITGPT: "Rows in 4 bit are of bitsandbytes 0.41, which kept the inputs of its layers, as "
    "today's does not: half of what is missing.",
    QWEN: "This family's own loss makes no float32 copies of the logits, which shows in long rows.",
    FACTORY: "Whole gigabytes, as published.",
    FOUNDRY: "MPT's attention was Triton's, with ALiBi, slower than FlashAttention-2 on long rows; "
    "30B with 8,192 tokens fills its cards.",
    TUNE: "torch.compile fuses what the planner counts kernel by kernel.",
}


class Published(NamedTuple):
    """One measurement, and what the planner is asked.

    Attributes:
        source: the page.
        setup: in a few words.
        quantity: memory on each device in GiB, or tokens per second of one device.
        measured: as published.
    """

    source: str
    setup: str
    quantity: Quantity
    measured: float
    workload: Workload
    machine: Machine

    def predict(self) -> float:
        """The planner's figure for `measured`."""
        if self.quantity == "tokens/s":
            step = estimate_step(self.workload, self.machine).seconds.value
            return count_step_tokens(self.workload, self.machine) / step / self.machine.count
        memory = estimate_memory(self.workload, self.machine)
        figure = memory.allocated_gib if self.quantity == "allocated" else memory.device_gib
        return figure.value

    def error(self) -> float:
        """Predicted ÷ measured − 1; of time, not of its inverse."""
        predicted = self.predict()
        share = predicted / self.measured
        return (1 / share if self.quantity == "tokens/s" else share) - 1


def list_published() -> list[Published]:
    """Every row."""
    sources = (_litgpt, _qwen, _factory, _peft, _foundry, _titan_and_fsdp, _torchtune)
    return [row for source in sources for row in source()]


def _on(name: str, count: int = 1, sharding: Sharding = "none") -> Machine:
    return Machine(find_device(name), count, sharding, None)


def _work(
    model: str | ModelFacts, engine: Engine, tokens: int, batch: int = 1, **keys: Any
) -> Workload:
    """`batch` examples of `tokens` tokens in a micro-batch."""
    name, facts = (model, None) if isinstance(model, str) else (model.name, model)
    values = {
        "base_model": name,
        "datasets": [{"path": "rows.jsonl", "type": "alpaca"}],
        "learning_rate": 1e-4,
        "optimizer": "adamw_torch",
        "bf16": True,
        "flash_attention": True,
        "sequence_len": tokens,
        "micro_batch_size": batch,
        "max_steps": 100,
        **keys,
    }
    row = tokens * batch
    return build_row_workload(values, engine, row, row, tokens_each=tokens, facts=facts)


def _lora(rank: int = 8, dropout: float = 0.05, *names: str, bits: int = 16) -> dict[str, Any]:
    """An adapter on the named layers, or on all."""
    keys: dict[str, Any] = {
        "adapter": "lora" if bits == 16 else "qlora",
        "lora_r": rank,
        "lora_alpha": 16,
        "lora_dropout": dropout,
    }
    keys |= {"lora_target_modules": list(names)} if names else {"lora_target_linear": True}
    return keys | ({"load_in_4bit": True} if bits == 4 else {})


ANEW: dict[str, Any] = {"gradient_checkpointing": True}


def _litgpt() -> Iterator[Published]:
    """Alpaca, longest example 1,304 tokens, no checkpointing; GB of PyTorch's peak."""
    rows = ((7, 1, 16, 21.30), (7, 2, 16, 29.07), (13, 1, 16, 38.12), (7, 1, 4, 13.84))
    for size, batch, bits, gigabytes in (*rows, (13, 1, 4, 22.55)):
        adapter = _lora(8, 0.05, "q_proj", "v_proj", bits=bits)
        model = f"meta-llama/Llama-2-{size}b-hf"
        work = _work(model, "accelerated-peft", 1304, batch, **adapter)
        setup = f"Llama-2-{size}B, LoRA r8 on {bits} bit, {batch} × 1,304"
        yield Published(LITGPT, setup, "allocated", gigabytes * GB_IN_GIB, work, _on("A100-40GB"))


def _qwen() -> Iterator[Published]:
    """One example, eight accumulated, checkpointing, one A100-80GB."""
    lora: Mapping[str, Sequence[float]] = {
        "Qwen-1.8B": (6.7, 7.4, 8.4, 11.0, 16.2, 21.8),
        "Qwen-7B": (20.1, 20.4, 21.5, 23.8, 29.7, 36.6),
        "Qwen-14B": (34.6, 35.1, 35.3, 37.4, 42.5, 55.2),
    }
    for model, row in lora.items():
        for tokens, shown in zip(LENGTHS, row, strict=True):
            work = _work(
                read_qwen(model), "transformers", tokens, **_lora(64), **ANEW,
                gradient_accumulation_steps=8,
            )  # fmt: skip
            yield Published(
                QWEN, f"{model}, LoRA r64, 1 × {tokens:,}", "shown", shown, work, _on("A100-80GB")
            )


def _factory() -> Iterator[Published]:
    """Llama-2-7B, QLoRA r8 on all layers, one example, one A100-40GB."""
    lengths, shown = (1024, 2048, 4096, 8192, 16384, 32768), (6, 7, 9, 12, 19, 32)
    for tokens, gigabytes in zip(lengths, shown, strict=True):
        work = _work(
            "meta-llama/Llama-2-7b-hf", "accelerated-peft", tokens, **_lora(8, 0, bits=4), **ANEW,
            gradient_accumulation_steps=4,
        )  # fmt: skip
        setup = f"Llama-2-7B, QLoRA r8, 1 × {tokens:,}"
        yield Published(FACTORY, setup, "shown", gigabytes, work, _on("A100-40GB"))


def _peft() -> Iterator[Published]:
    """Llama-2-70B, r8 on all layers, 2,048 tokens."""
    rows: Sequence[tuple[int, int, Sharding, int, str, float]] = (
        (4, 2, "fsdp-bf16", 2, "H100", 35.6),
        (4, 2, "zero3", 2, "H100", 36.6),
        (16, 8, "fsdp", 8, "H100", 76.0),  # the page says 72 to 80
        (16, 8, "zero3", 8, "H100", 64.0),
    )
    for bits, batch, sharding, count, card, shown in rows:
        engine: Engine = "accelerated-peft" if bits == 4 else "transformers"
        adapter = _lora(8, 0.1, bits=bits)
        work = _work("meta-llama/Llama-2-70b-hf", engine, 2048, batch, **adapter, **ANEW)
        setup = f"Llama-2-70B, LoRA r8 on {bits} bit, {batch} × 2,048, {count} × {sharding}"
        yield Published(PEFT, setup, "shown", shown, work, _on(card, count, sharding))


# Model → width, layers, heads.
_MPT: Mapping[str, tuple[int, int, int]] = {
    "125M": (768, 12, 12),
    "350M": (1024, 24, 16),
    "760M": (1536, 24, 12),
    "1B": (2048, 24, 16),
    "3B": (2560, 32, 20),
    "7B": (4096, 32, 32),
    "13B": (5120, 40, 40),
    "30B": (7168, 48, 56),
    "70B": (8192, 80, 64),
}
# Card, model, tokens, cards, examples, accumulated, checkpointing, tokens/s of one card.
_FOUNDRY: Sequence[tuple[str, str, int, int, int, int, bool, float]] = (
    ("H100", "70B", 2048, 64, 8, 4, True, 1039),
    ("H100", "30B", 8192, 8, 1, 21, True, 1384),
    ("H100", "30B", 2048, 8, 3, 21, True, 2002),
    ("H100", "13B", 32768, 8, 1, 3, True, 1976),
    ("H100", "13B", 4096, 8, 10, 3, True, 4717),
    ("H100", "13B", 2048, 8, 2, 1, False, 4792),
    ("H100", "7B", 8192, 8, 8, 2, True, 6935),
    ("H100", "7B", 4096, 8, 16, 2, True, 8611),
    ("H100", "7B", 2048, 8, 6, 1, False, 10643),
    ("H100", "7B", 1024, 8, 64, 2, True, 10203),
    ("H100", "3B", 2048, 16, 10, 3, False, 24142),
    ("H100", "3B", 512, 8, 40, 6, False, 27965),
    ("H100", "1B", 2048, 8, 14, 1, False, 45455),
    ("H100", "1B", 512, 8, 56, 4, False, 52275),
    ("H100", "760M", 512, 8, 96, 2, False, 83749),
    ("A100-80GB", "70B", 2048, 64, 8, 4, True, 410),
    ("A100-80GB", "30B", 8192, 8, 1, 21, True, 574),
    ("A100-80GB", "30B", 2048, 8, 3, 21, True, 916),
    ("A100-80GB", "13B", 32768, 8, 1, 3, True, 1016),
    ("A100-80GB", "13B", 4096, 8, 10, 3, True, 2060),
    ("A100-80GB", "13B", 2048, 8, 2, 3, False, 2262),
    ("A100-80GB", "7B", 8192, 8, 8, 2, True, 3206),
    ("A100-80GB", "7B", 2048, 8, 6, 2, False, 4641),
    ("A100-80GB", "3B", 2048, 8, 10, 2, False, 10811),
    ("A100-80GB", "1B", 2048, 8, 14, 4, False, 20513),
    ("A100-80GB", "350M", 512, 8, 128, 2, False, 69330),
    ("A100-80GB", "125M", 2048, 8, 32, 2, False, 141737),
    ("A100-40GB", "13B", 2048, 8, 4, 16, True, 1668),
    ("A100-40GB", "7B", 2048, 8, 12, 4, True, 3679),
    ("A100-40GB", "3B", 4096, 8, 2, 8, False, 8777),
)


def _read_mpt(size: str, tokens: int) -> ModelFacts:
    """MPT has GPT-2's layers, with GELU in one kernel."""
    width, layers, heads = _MPT[size]
    config = {
        "model_type": "gpt2",
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        "n_positions": tokens,
        "vocab_size": 50_368,
    }
    return facts_from_config(f"MPT-{size}", config, FOUNDRY)._replace(family="mpt")


def _foundry() -> Iterator[Published]:
    """Full training, FSDP with float32 weights, fused norms and loss."""
    for card, size, tokens, count, batch, accumulated, anew, rate in _FOUNDRY:
        work = _work(
            _read_mpt(size, tokens), "fused-loss", tokens, batch,
            gradient_checkpointing=anew, gradient_accumulation_steps=accumulated,
        )  # fmt: skip
        setup = f"MPT-{size}, full, {batch} × {tokens:,}, {count} × {card}"
        yield Published(FOUNDRY, setup, "tokens/s", rate, work, _on(card, count, "fsdp"))


def _titan_and_fsdp() -> Iterator[Published]:
    """Full training of Llama, FSDP; rows with selective checkpointing are left out."""
    llama2 = "meta-llama/Llama-2-{}b-hf"
    rows: Sequence[tuple[str, str, int, int, bool, str, int, float]] = (
        (TITAN, "meta-llama/Meta-Llama-3-70B", 8192, 1, True, "A100-80GB", 64, 331),
        (TITAN, llama2.format(13), 4096, 2, False, "A100-80GB", 64, 2162),
        (TITAN, llama2.format(70), 4096, 2, True, "A100-80GB", 64, 353),
        (FSDP, llama2.format(7), 4096, 2, False, "A100-80GB", 128, 3700),
        (FSDP, "codellama/CodeLlama-34b-hf", 4096, 2, True, "A100-80GB", 128, 700),
        (FSDP, llama2.format(7), 4096, 2, False, "H100", 96, 7500),
        (FSDP, "codellama/CodeLlama-34b-hf", 4096, 2, True, "H100", 96, 1550),
    )
    for source, model, tokens, batch, anew, card, count, rate in rows:
        work = _work(model, "transformers", tokens, batch, gradient_checkpointing=anew)
        setup = f"{model.rpartition('/')[2]}, full, {batch} × {tokens:,}, {count} × {card}"
        yield Published(source, setup, "tokens/s", rate, work, _on(card, count, "fsdp"))


def _torchtune() -> Iterator[Published]:
    """Llama 3.1, two packed rows of 2,048 tokens, torch.compile."""
    rows: Sequence[tuple[str, int, str, int, Sharding, float]] = (
        ("8B", 16, "RTX 4090", 1, "none", 3083),
        ("8B", 4, "RTX 4090", 1, "none", 2413),
        ("70B", 16, "A100-80GB", 8, "fsdp-bf16", 3497 / 8),
    )
    for size, bits, card, count, sharding, rate in rows:
        adapter = _lora(8, 0, "q_proj", "v_proj", bits=bits)
        work = _work(f"meta-llama/Llama-3.1-{size}", "fused-loss", 2048, 2, **adapter, **ANEW)
        setup = f"Llama-3.1-{size}, LoRA r8 on {bits} bit, 2 × 2,048, {count} × {card}"
        yield Published(TUNE, setup, "tokens/s", rate, work, _on(card, count, sharding))


def describe_published() -> str:
    """The section as Markdown: a line a source, and the rows that are far off."""
    rows = [(row, row.error()) for row in list_published()]
    lines = [
        "## Other published measurements",
        "",
        "Typed in from their pages (benchmarks/planner_published.py). No constant is fitted to",
        "them, but they were in view when attention on Hopper, plain activations and the shown",
        "figure were mended.",
        "*Shown* is what nvidia-smi or its like shows.",
        "",
        "| source | quantity | rows | median error | largest | |",
        "|---|---|--:|--:|--:|---|",
    ]
    kinds = dict.fromkeys((row.source, row.quantity) for row, _ in rows)
    for source, quantity in kinds:
        errors = [abs(error) for row, error in rows if row[0] == source and row[2] == quantity]
        lines.append(
            f"| {source} | {quantity} | {len(errors)} | {statistics.median(errors):.1%} "
            f"| {max(errors):.1%} | {WHY.get(source, '')} |"
        )
    lines += [
        "",
        f"The rows that are off by more than {FAR:.0%}; errors of throughput are those of time.",
        "",
        "| setup | measured | predicted | error |",
        "|---|--:|--:|--:|",
    ]
    far = [item for item in rows if abs(item[1]) > FAR]
    for row, error in sorted(far, key=lambda item: -abs(item[1])):
        lines.append(_line(row, error))
    return "\n".join(lines)


def _line(row: Published, error: float) -> str:
    unit = "tokens/s" if row.quantity == "tokens/s" else "GiB"
    figures = f"{row.measured:,.4g} {unit} | {row.predict():,.4g} {unit}"
    return f"| {row.setup} | {figures} | {error:+.1%} |"


def main() -> None:
    for row in list_published():
        print(_line(row, row.error()))


if __name__ == "__main__":
    main()
