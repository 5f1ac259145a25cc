"""Which weights are projected, on models of several families."""

from __future__ import annotations

import pytest
from tiny_models import build_model

from luthier.errors import ModelError
from luthier.optim.projected_layers import check_rank, list_embeddings, select_projected

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


def test_a_rank_that_makes_no_gradient_smaller_is_refused_by_its_key() -> None:
    model = build_model("llama")
    shapes = {name: p.shape for name, p in model.named_parameters()}
    targets = select_projected(model, ["q_proj"], KEY)
    side = min(min(shapes[name]) for name in targets)
    assert check_rank(model, targets, side - 1, "galore_rank") == ()
    for rank in (side, side + 5):
        with pytest.raises(
            ModelError, match=rf"galore_rank: {rank} .* {side} at most.* adamw_torch"
        ):
            check_rank(model, targets, rank, "galore_rank")


def test_a_rank_too_large_for_some_weights_is_noted_with_their_number() -> None:
    # Two key heads for four query heads: k_proj and v_proj are half as tall as the others.
    model = build_model("qwen2", num_attention_heads=4, num_key_value_heads=2)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    narrow, wide = (shapes[f"model.layers.0.self_attn.{kind}_proj.weight"][0] for kind in "kq")
    assert narrow < wide
    targets = select_projected(model, None, KEY)
    (note,) = check_rank(model, targets, narrow, "fira_rank")
    assert f"fira_rank: {narrow} makes 4 of 14 gradients no smaller" in note
    assert "k_proj" in note
