"""Base models and tokenizers, by hub id, local folder or `embedded`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from luthier.errors import ModelError
from luthier.models.places import find_root, find_tokenizer, locate_model
from luthier.models.quantize import Quantization, adopt_quantized_layers, import_bitsandbytes
from luthier.seeding import derive_seed, seed_everything

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")

# Its bars and remarks would stand between our own lines; what fails still raises.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


class LoadedTokenizer(NamedTuple):
    tokenizer: Any
    added_tokens: int  # new rows that the model's embedding must grow by
    notes: tuple[str, ...]


def load_base_model(
    name: str,
    *,
    dtype: torch.dtype,
    attention: str | None = None,
    quantization: Quantization | None = None,
    place: torch.device | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """Load a causal language model's weights in `dtype`.

    Args:
        attention: transformers' name for it; None takes the family's best, which for some
            (Gemma 2) is not PyTorch's own.
        quantization: pack the linear layers but the output head; each is packed as it is read, so
            that the whole model need never fit in `dtype`.
        place: the device to pack on; the CPU when absent, and without `quantization`.

    Raises:
        ModelError: no such folder or hub id, a model that is not a causal language model, or one
            whose files lack weights, which transformers would draw at random without a word.
    """
    source = locate_model(name)
    with _explained(name):
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            output_loading_info=True,
            config=config,
            dtype=dtype,
            attn_implementation=attention or keep_soft_cap(config),
            trust_remote_code=trust_remote_code,
            **_loading_choices(quantization, dtype, place),
        )
    model, report = loaded
    missing = sorted({*report["missing_keys"], *report["mismatched_keys"]})
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelError(
            f"{name}: the files hold no fitting weights for {', '.join(missing[:3])}{more}. They "
            "are incomplete, or belong to another kind of model."
        )
    if quantization is not None:
        adopt_quantized_layers(model, quantization)
    model.config.use_cache = True
    return model


def keep_soft_cap(config: Any) -> Literal["eager"] | None:
    """The attention of a family that caps its scores (Gemma 2); None leaves it to transformers.

    Up to 5.17 and perhaps later, transformers itself chooses PyTorch's attention for them, which
    leaves the cap out without a word.
    """
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return "eager" if capped else None


def _loading_choices(
    quantization: Quantization | None, dtype: torch.dtype, place: torch.device | None
) -> dict[str, Any]:
    if quantization is None:
        return {}
    import_bitsandbytes()
    packing = BitsAndBytesConfig(
        load_in_4bit=quantization.bits == 4,
        load_in_8bit=quantization.bits == 8,
        bnb_4bit_quant_type=quantization.quant_type,
        bnb_4bit_use_double_quant=quantization.double,
        bnb_4bit_compute_dtype=dtype,
    )
    # Without a place, transformers would take the GPU of its own accord.
    return {"device_map": {"": place or "cpu"}, "quantization_config": packing}


def load_tokenizer(
    name: str,
    *,
    chat_template: str = "tokenizer_default",
    special_tokens: Mapping[str, str] | None = None,
    trust_remote_code: bool = False,
) -> LoadedTokenizer:
    """Load a tokenizer and give it the recipe's chat template and special tokens.

    A template whose marks the base model never saw works on untrained rows of the embedding; that
    is said in the notes.
    """
    with _explained(name):
        tokenizer = AutoTokenizer.from_pretrained(
            find_tokenizer(name), trust_remote_code=trust_remote_code
        )
    notes: list[str] = []
    added = 0
    if special_tokens:
        added += tokenizer.add_special_tokens(dict(special_tokens))
    if chat_template == "chatml":
        tokenizer.chat_template = CHATML
        new_marks = [token for token in CHATML_TOKENS if token not in tokenizer.get_vocab()]
        if new_marks:
            added += tokenizer.add_special_tokens({"additional_special_tokens": new_marks})
            notes.append(
                f"{name} has never seen {' and '.join(new_marks)}: their embedding rows start "
                "untrained. Train the embeddings too, or use a base model that knows ChatML."
            )
        tokenizer.eos_token = CHATML_TOKENS[1]
    elif chat_template != "tokenizer_default":
        tokenizer.chat_template = chat_template
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return LoadedTokenizer(tokenizer, added, tuple(notes))


def grow_embeddings(causal: Any, tokens: int) -> None:
    """Add rows for tokens that the tokenizer gained; the same rows on every load.

    An adapter holds no embedding, so training and whoever loads its result must grow them alike.
    """
    if tokens > causal.get_input_embeddings().num_embeddings:
        seed_everything(derive_seed("new tokens"))
        causal.resize_token_embeddings(tokens)


def require_chat_template(tokenizer: Any, name: str) -> None:
    """Raise ModelError when conversations are to be trained and no template tells their form."""
    if not tokenizer.chat_template:
        raise ModelError(
            f"{name} comes without a chat template, and the data are conversations. "
            "Write chat_template: chatml, or give a Jinja template."
        )


class _explained:
    """Context that turns the loaders' many exceptions into one ModelError with a mend."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if error is None or not isinstance(error, Exception):
            return
        reason = str(error).strip().splitlines()[0] if str(error).strip() else kind.__name__  # type: ignore[union-attr]
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{self.name} brings its own code. Read it, then allow it with "
                "--trust-remote-code and trust_remote_code: true."
            ) from error
        if Path(self.name).exists():
            raise ModelError(f"cannot load the model in {self.name}: {reason}") from error
        raise ModelError(
            f"no such model: {self.name}. It is neither a local folder nor a model that the hub "
            f"gave ({reason}). Check the name, log in with `hf auth login`, or use "
            "base_model: embedded."
        ) from error


def read_saved_dtype(name: str) -> torch.dtype:
    """The precision in which a model's weights are stored; a run's are those of its base."""
    root = find_root(name)
    with _explained(root):
        dtype = AutoConfig.from_pretrained(locate_model(root)).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32
