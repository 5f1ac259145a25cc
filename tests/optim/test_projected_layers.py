"""Which weights are projected, on models of several families."""

from __future__ import annotations

import pytest
from tiny_models import build_model

from luthier.errors import ModelError
from luthier.optim.projected_layers import list_embeddings, select_projected

KEY = "galore_target_modules"


@pytest.mark.parametrize(
    ("family", "layers", "embeddings"),
    [
        ("gpt2", 4, {"transformer.wte.weight", "transformer.wpe.weight"}),
        ("gpt_neox", 4, {"gpt_neox.embed_in.weight"}),
        ("llama", 7, {"model.embed_tokens.weight"}),
        ("gemma", 7, {"model.embed_tokens.weight"}),
        ("qwen3", 7, {"model.embed_tokens.weight"}),
    ],
)
def test_all_linear_layers_but_the_head_are_projected(
    family: str, layers: int, embeddings: set[str]
) -> None:
    model = build_model(family)
    names = select_projected(model, None, KEY)
    parameters = dict(model.named_parameters())
    assert len(names) == 2 * layers  # two blocks
    assert all(parameters[name].ndim == 2 for name in names)
    assert not any("head" in name or "embed_out" in name for name in names)
    assert list_embeddings(model) == embeddings


@pytest.mark.parametrize(
    ("target", "count"),
    [
        ("q_proj", 2),
        ("self_attn", 8),
        ("mlp", 6),
        ("layers.1.mlp", 3),
        ("layers.1", 7),
        (r".*\.mlp\..*", 6),
        ("attn", 8),
        ("model.layers.0.self_attn.q_proj", 1),
    ],
)
def test_a_target_is_a_layer_a_part_of_the_model_a_pattern_or_a_piece_of_a_name(
    target: str, count: int
) -> None:
    assert len(select_projected(build_model("llama"), [target], KEY)) == count


def test_targets_add_up() -> None:
    model = build_model("gpt2")
    assert len(select_projected(model, ["attn", "c_fc"], KEY)) == 6


def test_a_target_that_matches_nothing_is_named_with_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"galore_target_modules: 'q_prj' .* q_proj"):
        select_projected(build_model("llama"), ["q_proj", "q_prj"], KEY)
