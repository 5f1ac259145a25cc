"""A packed row against its examples one by one, in float64."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, VOCABULARY, build_model, make_examples, relative_error
from torch import Tensor, nn

from luthier.adapters.attach_lora import LoraTargets, attach_lora
from luthier.adapters.lora import LoraSettings
from luthier.data.batches import PackedBatch, TokenizedExample, pack
from luthier.errors import ModelError
from luthier.models.attention import PACKED_ATTENTION
from luthier.models.packed import PackedModel, is_honoured
from luthier.objectives.sft import sum_sft_loss

ALL_FAMILIES = [
    *((family, {}) for family in FAMILIES),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    ("llama", {"tie_word_embeddings": True}),
]

# These round norms, scores or the softmax to float32 inside, in a float64 model too.
ROUNDING = ("gemma", "gemma2", "cohere")


def tolerance(family: str) -> float:
    return 2e-6 if family in ROUNDING else 1e-9


def plain_logits(model: nn.Module, example: TokenizedExample) -> Tensor:
    """The family's own logits of one example, at the positions before supervised tokens."""
    ids = torch.from_numpy(example.input_ids.astype(np.int64))[None]
    return model(ids, use_cache=False).logits[0][np.flatnonzero(example.loss_mask[1:])]


def plain_loss(model: nn.Module, examples: list[TokenizedExample]) -> Tensor:
    """The definition: −Σ log softmax(logits)[next token] over the supervised tokens."""
    total = torch.zeros((), dtype=torch.float64)
    for example in examples:
        targets = torch.from_numpy(example.input_ids[1:][example.loss_mask[1:]].astype(np.int64))
        chosen = plain_logits(model, example).log_softmax(-1).gather(1, targets[:, None])
        total = total - chosen.sum()
    return total


@pytest.mark.parametrize(("family", "changes"), ALL_FAMILIES)
@pytest.mark.parametrize("lengths", [(3, 9, 1, 6), (7, 7, 7)])
def test_packed_logits_equal_those_of_the_examples_alone(
    family: str, changes: dict[str, Any], lengths: tuple[int, ...]
) -> None:
    examples = make_examples(*lengths)
    with torch.no_grad():
        expected = torch.cat([plain_logits(build_model(family, **changes), e) for e in examples])
        found = PackedModel(build_model(family, **changes)).logits(pack(examples))
    assert relative_error(found, expected) < tolerance(family)


@pytest.mark.parametrize(("family", "changes"), ALL_FAMILIES)
def test_packed_loss_and_gradients_equal_those_of_the_examples_alone(
    family: str, changes: dict[str, Any]
) -> None:
    examples = make_examples(3, 9, 6)
    alone, packed = build_model(family, **changes), PackedModel(build_model(family, **changes))
    expected = plain_loss(alone, examples)
    expected.backward()
    found = sum_sft_loss(packed, pack(examples))
    found.backward()
    assert relative_error(found, expected) < tolerance(family)
    gradients = dict(packed.causal.named_parameters())
    for name, parameter in alone.named_parameters():
        assert parameter.grad is not None
        found_gradient = gradients[name].grad
        assert found_gradient is not None, name
        if float(parameter.grad.abs().max()) > 1e-12:  # a key's bias has none: softmax ignores it
            assert relative_error(found_gradient, parameter.grad) < tolerance(family), name


def test_a_window_shorter_than_the_example_is_felt() -> None:
    # Guards the tests above: with four tokens of sight, the logits must differ from full sight.
    examples = make_examples(9)
    with torch.no_grad():
        near, far = (
            PackedModel(build_model("mistral", sliding_window=window)).logits(pack(examples))
            for window in (4, 64)
        )
    assert relative_error(near, far) > 0.01


def test_changing_one_example_leaves_its_neighbours_alone() -> None:
    first, second = make_examples(5, 6)
    other = TokenizedExample("x", (first.input_ids + 7) % VOCABULARY, first.loss_mask)
    model = PackedModel(build_model("qwen2"))
    with torch.no_grad():
        before = model.logits(pack([first, second]))[-3:]
        after = model.logits(pack([other, second]))[-3:]
    assert torch.equal(before, after)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma", "llama", "mistral", "qwen2"])
def test_common_families_get_the_attention_whose_cost_is_per_example(family: str) -> None:
    assert PackedModel(build_model(family)).attention == PACKED_ATTENTION


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_and_head_are_judged_alike_in_lower_precision(dtype: torch.dtype) -> None:
    for family in FAMILIES:
        exact, rough = (
            PackedModel(build_model(family, dtype=d, initializer_range=0.02))
            for d in (torch.float64, dtype)
        )
        assert rough.attention == exact.attention, family
        assert rough.head_is_plain == exact.head_is_plain, family


@pytest.mark.parametrize(
    ("family", "plain"),
    [("qwen2", True), ("gemma", True), ("gemma2", False), ("cohere", False), ("granite", False)],
)
def test_a_scaled_or_capped_head_is_not_taken_for_a_plain_one(family: str, plain: bool) -> None:
    assert PackedModel(build_model(family)).head_is_plain is plain


def test_attention_in_chunks_is_left_to_the_family() -> None:
    # Chunks longer than the trial would hide nothing from it.
    from luthier.models.packed import _list_candidates

    model = build_model("qwen2")
    assert PACKED_ATTENTION in _list_candidates(model, "sdpa")
    model.config.layer_types = ["chunked_attention", "full_attention"]
    assert PACKED_ATTENTION not in _list_candidates(model, "sdpa")


def test_a_family_that_mixes_examples_is_refused() -> None:
    model = build_model("qwen2")
    forward = model.model.forward

    def leaking(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.last_hidden_state = output.last_hidden_state.cumsum(1)  # recurrence over the row
        return output

    model.model.forward = leaking
    with pytest.raises(ModelError, match="packed row"):
        PackedModel(model)


def test_choosing_the_attention_leaves_training_mode_as_it_was() -> None:
    assert PackedModel(build_model("qwen2").train()).causal.training
    assert not PackedModel(build_model("qwen2").eval()).causal.training


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_gradient_checkpointing_gives_equal_gradients(family: str) -> None:
    batch = pack(make_examples(3, 9, 6))
    gradients: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        model = build_model(family)
        packed = PackedModel(model)
        adapter = attach_lora(
            model, LoraSettings(4, 8, 0.3, magnitude=True), LoraTargets(None, True), base_model=""
        )
        for parameter in adapter.parameters.values():
            parameter.data = parameter.data.double()
        adapter.refresh()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        torch.manual_seed(5)
        sum_sft_loss(packed, batch).backward()
        gradients.append({name: p.grad for name, p in adapter.parameters.items()})  # type: ignore[misc]
    for name, expected in gradients[0].items():
        assert torch.equal(gradients[1][name], expected), name


def test_hidden_states_are_those_where_a_label_is() -> None:
    model = build_model("qwen2")
    batch: PackedBatch = pack(make_examples(4, 6))
    packed = PackedModel(model)
    with torch.no_grad():
        hidden = packed.hidden_states(batch)
        assert torch.equal(model.lm_head(hidden), packed.logits(batch))
    assert hidden.shape[0] == len(batch.targets) == 2 + 3


def branch_row(trunk: int, *branches: int) -> tuple[PackedBatch, list[Tensor]]:
    """A trunk with branches, labelled everywhere, and the places of each whole example in it."""
    total = trunk + sum(branches)
    ids = torch.from_numpy(make_examples(total)[0].input_ids.astype(np.int64))
    starts = np.cumsum([trunk, *branches])[:-1]
    own = [torch.arange(n) + int(start) for n, start in zip(branches, starts, strict=True)]
    positions = torch.cat([torch.arange(trunk), *(trunk + torch.arange(n) for n in branches)])
    row = PackedBatch(ids[None], positions[None], torch.arange(total), ids, (trunk, *branches))
    return row, [torch.cat([torch.arange(trunk), place]) for place in own]


@pytest.mark.parametrize("branches", [(2, 6), (5, 1), (3, 3, 7)])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma", "llama", "mistral", "qwen3"])
def test_branches_see_their_trunk_and_themselves_and_no_sibling(
    family: str, branches: tuple[int, ...]
) -> None:
    row, examples = branch_row(6, *branches)
    model = build_model(family)
    with torch.no_grad():
        found = PackedModel(model).logits(row, branches=len(branches))
        for places in examples:
            expected = model(row.input_ids[:, places], use_cache=False).logits[0]
            assert relative_error(found[places], expected) < tolerance(family)


@pytest.mark.parametrize(
    ("family", "shares"), [("qwen2", True), ("gpt2", True), ("mistral", True), ("gemma2", False)]
)
def test_prompts_are_shared_where_the_packed_attention_is_taken(family: str, shares: bool) -> None:
    assert PackedModel(build_model(family)).shares_prompts is shares


def test_a_position_labelled_twice_gives_its_hidden_state_twice() -> None:
    batch = pack(make_examples(6))
    twice = batch._replace(label_positions=torch.tensor([2, 4, 2]))
    packed = PackedModel(build_model("qwen2"))
    with torch.no_grad():
        hidden = packed.hidden_states(twice)
        once = packed.hidden_states(batch._replace(label_positions=torch.tensor([2, 4])))
    assert torch.equal(hidden, once[[0, 1, 0]])


def test_gradient_checkpointing_keeps_branches_apart() -> None:
    row, _ = branch_row(4, 3, 5)
    gradients: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        model = build_model("qwen2")
        packed = PackedModel(model)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        packed.hidden_states(row, branches=2).square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    for name, expected in gradients[0].items():
        assert torch.equal(gradients[1][name], expected), name


def checkpoint_around_call(layer: Any) -> None:
    """Make a layer what some versions of transformers make it: checkpointed around `__call__`."""
    kind: Any = type(layer)
    if not hasattr(kind.forward, "__wrapped__"):
        return  # the version here is one of them

    class Older(kind):
        def __call__(self, *arguments: Any, **keywords: Any) -> Any:
            call = super().__call__
            if self.gradient_checkpointing and self.training:
                return self._gradient_checkpointing_func(partial(call, **keywords), *arguments)
            return call(*arguments, **keywords)

    Older.forward = kind.forward.__wrapped__
    layer.__class__ = Older


@pytest.mark.parametrize("around", ["forward", "call"])
def test_a_checkpointed_last_layer_is_worked_out_anew_for_the_same_positions(around: str) -> None:
    batch = pack(make_examples(3, 9, 6))
    gradients: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        model = build_model("qwen2")
        for layer in model.model.layers if around == "call" else ():
            checkpoint_around_call(layer)
        packed = PackedModel(model)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        lengths: list[int] = []
        last = model.model.layers[-1]
        # Before and not after: working out anew stops at the last tensor that is needed.
        last.mlp.register_forward_pre_hook(lambda _, x, seen=lengths: seen.append(x[0].shape[1]))
        sum_sft_loss(packed, batch).backward()
        assert lengths == [len(batch.label_positions)] * (2 if checkpointing else 1)
        assert last.gradient_checkpointing is checkpointing
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        assert torch.equal(gradients[1][name], expected), name


def test_the_attention_that_is_asked_for_is_tried_first_and_told_from_another() -> None:
    asked = PackedModel(build_model("qwen2"), "eager")
    assert asked.attention == "eager"
    assert is_honoured("eager", asked.attention)
    usual = PackedModel(build_model("qwen2"), "sdpa")
    assert usual.attention == PACKED_ATTENTION
    assert is_honoured("sdpa", usual.attention)
    assert is_honoured(None, usual.attention)
    # Its soft cap is known to `eager` alone.
    capped = PackedModel(build_model("gemma2"), "sdpa")
    assert capped.attention == "eager"
    assert not is_honoured("sdpa", capped.attention)
