"""Base models and tokenizers: what is loaded, and what is said where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import build_tokenizer, save_base_model

from luthier.errors import ModelError
from luthier.models.load import (
    grow_embeddings,
    load_base_model,
    load_tokenizer,
    require_chat_template,
)


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "gpt2"])
def test_a_family_loads_in_the_dtype_asked_for(family: str, tmp_path: Path) -> None:
    # Gemma 2 refuses PyTorch's own attention, so none is forced upon it.
    base = save_base_model(tmp_path, family)
    model = load_base_model(str(base), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_a_folder_without_a_model_is_an_error_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"cannot load the model in {tmp_path}"):
        load_base_model(str(tmp_path), dtype=torch.float32)


def test_a_name_that_is_nowhere_is_an_error_with_a_mend() -> None:
    with pytest.raises(ModelError, match=r"no such model: no/such.*base_model: embedded"):
        load_tokenizer("no/such")


def test_chatml_on_a_tokenizer_that_knows_it_adds_nothing(tmp_path: Path) -> None:
    build_tokenizer().save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path), chat_template="chatml")
    assert (loaded.added_tokens, loaded.notes) == (0, ())
    assert loaded.tokenizer.eos_token == "<|im_end|>"


def test_chatml_on_a_tokenizer_that_does_not_is_noted_and_its_marks_become_tokens(
    tmp_path: Path,
) -> None:
    base = save_base_model(tmp_path)

    plain = build_tokenizer()
    text = plain.backend_tokenizer.to_str().replace("<|im_", "<|other_")
    (base / "tokenizer.json").write_text(text)
    config = (base / "tokenizer_config.json").read_text().replace("<|im_", "<|other_")
    (base / "tokenizer_config.json").write_text(config)
    loaded = load_tokenizer(str(base), chat_template="chatml")
    assert loaded.added_tokens == 2
    assert "never seen <|im_start|> and <|im_end|>" in loaded.notes[0]
    ids = loaded.tokenizer("<|im_start|>a<|im_end|>")["input_ids"]
    assert len(ids) == 3


def test_grown_embeddings_are_the_same_on_every_load(tmp_path: Path) -> None:
    base = save_base_model(tmp_path)
    rows: list[torch.Tensor] = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = load_base_model(str(base), dtype=torch.float32)
        grow_embeddings(model, 303)
        rows.append(model.get_input_embeddings().weight.detach())
    assert rows[0].shape[0] == 303
    assert torch.equal(rows[0], rows[1])


def test_conversations_need_a_template() -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="chat_template: chatml"):
        require_chat_template(tokenizer, "base")
