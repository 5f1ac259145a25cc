"""Models of real shapes with random weights: they cost what trained ones cost.

Shapes as published in each model's own config.json.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import psutil


class Shape(NamedTuple):
    name: str  # what the tables call it
    family: str  # transformers' `model_type`
    width: int
    ffn_width: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool


SHAPES = {
    "0.5b": Shape("Qwen2.5-0.5B", "qwen2", 896, 4864, 24, 14, 2, 151_936, True),
    "1.5b": Shape("Qwen2.5-1.5B", "qwen2", 1536, 8960, 28, 12, 2, 151_936, True),
    "7b": Shape("Qwen2.5-7B", "qwen2", 3584, 18_944, 28, 28, 4, 152_064, False),
    "8b": Shape("Llama-3-8B", "llama", 4096, 14_336, 32, 32, 8, 128_256, False),
    # For a processor: the embedded tokenizer's size, trained in a breath.
    "tiny": Shape("tiny Qwen2", "qwen2", 64, 128, 2, 4, 2, 8_192, True),
}
LONGEST_TOKENS = 32_768
WRITING_SECONDS = 150.0
_ROOTS = (Path("/dev/shm"), Path(tempfile.gettempdir()))
_FOLDER = "luthier-gpu-models"


def provide_model(name: str) -> Path:
    """The folder of a shape's model: one that is there, or a new one.

    It is written by a process of its own, which leaves nothing of itself on the device.
    """
    from benchmarks.gpu.workers import ROOT, build_environment

    shape = SHAPES[name]
    for root in _ROOTS:
        place = root / _FOLDER / name_folder(shape)
        if (place / "config.json").exists():
            return place
    scratch = choose_scratch(2 * count_parameters(shape))
    code = (
        "from pathlib import Path\n"
        "from benchmarks.gpu.shapes import SHAPES, write_model\n"
        f"write_model(SHAPES[{name!r}], Path({str(scratch)!r}))\n"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=True,
        timeout=WRITING_SECONDS,
        cwd=ROOT,
        env=build_environment(),
        stdout=subprocess.DEVNULL,
    )
    return scratch / name_folder(shape)


def write_model(shape: Shape, folder: Path) -> Path:
    """Draw the weights on the device and save them in bfloat16 with the embedded tokenizer.

    What is there already is kept. The folder is then an ordinary model's: both peers load it by
    their own loading code.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from luthier.models.load import locate_model

    place = folder / name_folder(shape)
    if (place / "config.json").exists():
        return place
    tokenizer = AutoTokenizer.from_pretrained(locate_model("embedded"))
    config = AutoConfig.for_model(shape.family, **describe(shape, tokenizer))
    here = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    with torch.device(here):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    staged = place.with_name(f".{place.name}")
    model.save_pretrained(staged)
    tokenizer.save_pretrained(staged)
    staged.rename(place)
    del model
    if here == "cuda":
        torch.cuda.empty_cache()
    return place


def name_folder(shape: Shape) -> str:
    return shape.name.replace(" ", "-")


def count_parameters(shape: Shape) -> int:
    """Its weights, but for biases and norms, which are few."""
    keys = shape.width // shape.heads * shape.kv_heads
    block = shape.width * (2 * shape.width + 2 * keys + 3 * shape.ffn_width)
    return shape.layers * block + shape.vocabulary * shape.width * (1 if shape.tied else 2)


def describe(shape: Shape, tokenizer: Any) -> dict[str, Any]:
    """The shape as a config.json states it."""
    return {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.ffn_width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": LONGEST_TOKENS,
        "tie_word_embeddings": shape.tied,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def choose_scratch(needed_bytes: int) -> Path:
    """A folder for models: in memory where it has room to spare, else among temporary files."""
    memory, disk = _ROOTS
    roomy = memory.is_dir() and psutil.disk_usage(str(memory)).free > 2 * needed_bytes
    free = psutil.virtual_memory().available > 3 * needed_bytes
    root = memory if roomy and free else disk
    place = root / _FOLDER
    place.mkdir(exist_ok=True)
    return place
