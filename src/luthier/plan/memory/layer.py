"""What one transformer layer keeps of a token for the backward pass, tensor by tensor.

Widths, in numbers of one token: `h` hidden states, `a` all query heads, `k` all key heads, `f` the
inside of the feed-forward block. A frozen product keeps nothing of its input; a trained one and an
adapter do. Checked tensor by tensor against published peaks: a fully trained Llama-3-8B layer
needs 57 h bytes, one with QLoRA 63 h (docs/planner-accuracy.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from luthier.plan.memory.number_formats import Formats
from luthier.plan.memory.streams import Stream, find_stream, stream_width
from luthier.plan.model.model_facts import Linear, ModelFacts
from luthier.plan.work.attention import forms_scores
from luthier.plan.work.engines import REPEATS_KEYS, EngineTraits
from luthier.recipe.schema import Recipe

# Norms as wide as the hidden states in one layer, and families that also norm queries and keys.
NORMS_IN_LAYER: Mapping[str, int] = {"gemma2": 4, "gemma3": 4, "gemma3_text": 4, "falcon": 1}
HEAD_NORMS = frozenset({"qwen3", "qwen3_moe", "gemma3", "gemma3_text"})
# An activation that is put together from several operations keeps each one's result.
KEPT_BY_ACTIVATION: Mapping[str, int] = {"gpt2": 4}

# Queries, keys and values in one product, of which queries and keys are rotated into new tensors.
_ONE_PRODUCT = frozenset({"qkv_proj", "query_key_value"})
# Layers whose output attention or the activation keeps, as it is.
_KEPT_ANYWAY = frozenset({"v_proj", "gate_proj", "up_proj", "dense_h_to_4h", "c_fc"})


class LayerBytes(NamedTuple):
    """Bytes of one token in one transformer layer.

    Attributes:
        kept: for the backward pass, the layer's own input among it.
        own_input: the part of `kept` that is the layer's input itself, which checkpointing keeps
            in any case.
        backward: what the layer's backward pass needs on top at its worst moment.
        half: the part of `kept` that belongs to the feed-forward half.
    """

    kept: float
    own_input: float
    backward: float
    half: float


class AdapterOn(NamedTuple):
    """An adapter's share in what a layer keeps.

    Attributes:
        linears: the layers that it stands on, inside one transformer layer.
        rank: of A and B.
        mask_bytes: kept of each dropped number to say so, beside the number; 0 without dropout.
        magnitude: DoRA's.
        bits: that a weight of the base under it is packed in; None where it is not. Layers packed
            in 8 bit keep what they read (bitsandbytes, `MatMul8bitLt`), those in 4 do not.
    """

    linears: tuple[Linear, ...]
    rank: int
    mask_bytes: int
    magnitude: bool
    bits: int | None


def measure_layer(
    facts: ModelFacts,
    formats: Formats,
    traits: EngineTraits,
    recipe: Recipe,
    adapter: AdapterOn | None,
) -> LayerBytes:
    """Bytes that one token takes in one layer; a mean over layers where only some are adapted."""
    b = formats.compute
    chosen = max((item.active_copies for item in facts.linears), default=1)
    h, f = facts.width, facts.ffn_width * chosen
    a, k = facts.heads * facts.head_width, facts.kv_heads * facts.head_width
    full = adapter is None
    norm = _norm_bytes(formats, traits, trained=full)
    norms = NORMS_IN_LAYER.get(facts.family, 2)
    own_input = formats.hidden * h if traits.fused_norms or formats.hidden == 4 else 0
    repeated = 2 * (a - k) if _repeats_keys(facts, traits, recipe) else 0
    attention = b * (2 * a + 2 * k + repeated) + 4 * facts.heads + _scores(facts, recipe, b)
    if any(item.name in _ONE_PRODUCT for item in facts.linears):
        attention += b * (a + k)  # values are a part of it, and keep the whole alive
    attention += _head_norms(facts, formats, a + k, trained=full)
    inputs = _input_bytes(facts, formats, traits, adapter)
    first = norms / 2 * norm * h + attention + inputs["attention in"] + inputs["attention out"]
    inside = (3 if facts.gated else KEPT_BY_ACTIVATION.get(facts.family, 1)) * b * f
    copies = chosen if inputs["feed-forward in"] else 1
    half = norms / 2 * norm * h + inside
    half += b * h * chosen if chosen > 1 else 0  # what each expert says, to be weighed
    half += inputs["feed-forward in"] * copies + inputs["feed-forward out"] * chosen
    # Where the block's parts are multiplied, the gradients of the product and of both parts are
    # there at once, and what the last linear layer had kept is gone.
    share = _share_at_once(facts, traits, chosen)
    gradients = share * ((3 if facts.gated else 2) * b * f - inputs["feed-forward out"] * chosen)
    gradients += formats.hidden * h * (2 if traits.keeps_layer_output else 1)
    if adapter is not None and adapter.mask_bytes and inputs["feed-forward out"]:
        gradients += 4 * f  # dropped inputs are float32, and so are their gradients
    attending = formats.hidden * h + b * (2 * a + 2 * k + repeated) + 4 * a
    attending += 2 * _scores(facts, recipe, b) - half
    return LayerBytes(first + half, own_input, max(gradients, attending), half)


def _share_at_once(facts: ModelFacts, traits: EngineTraits, chosen: int) -> float:
    """Of a mixture's tokens, those whose experts work at the same time: all, or one expert's."""
    experts = max(item.copies for item in facts.linears)
    return 1 / experts if traits.packs_experts and chosen > 1 else 1.0


def _norm_bytes(formats: Formats, traits: EngineTraits, *, trained: bool) -> float:
    """Kept for each number that a norm reads."""
    if traits.fused_norms:
        return formats.hidden
    # A copy in float32 unless it is that already, and for a trained weight what it multiplies.
    return 4 + (formats.hidden if trained else 0)


def _head_norms(facts: ModelFacts, formats: Formats, width: int, *, trained: bool) -> float:
    if facts.family not in HEAD_NORMS:
        return 0
    return width * (4 + (formats.compute if trained else 0))


def _repeats_keys(facts: ModelFacts, traits: EngineTraits, recipe: Recipe) -> bool:
    ours = traits.labelled_only
    flash = recipe.flash_attention or recipe.attn_implementation == "flash_attention_2"
    return not ours and flash and facts.family in REPEATS_KEYS


def _scores(facts: ModelFacts, recipe: Recipe, compute: int) -> float:
    """Attention scores of one token."""
    if not forms_scores(recipe, facts):
        return 0
    return facts.heads * recipe.sequence_len * (4 + compute)


def _input_bytes(
    facts: ModelFacts, formats: Formats, traits: EngineTraits, adapter: AdapterOn | None
) -> dict[Stream, float]:
    """What the linear layers that read each stream keep of it."""
    readers: dict[Stream, list[Linear]] = {
        "attention in": [],
        "attention out": [],
        "feed-forward in": [],
        "feed-forward out": [],
    }
    for linear in facts.linears if adapter is None else adapter.linears:
        readers[find_stream(linear, facts)].append(linear)
    found: dict[Stream, float] = {}
    for stream, linears in readers.items():
        width = stream_width(stream, facts)
        if not linears:
            found[stream] = _kept_by_base(stream, formats, adapter, width)
        elif adapter is None:
            found[stream] = _full_input(stream, linears, formats, width)
        else:
            found[stream] = _adapted_input(stream, linears, formats, traits, adapter, width)
    return found


def _kept_by_base(stream: Stream, formats: Formats, adapter: AdapterOn | None, width: int) -> float:
    """Of what frozen layers read; attention keeps its result already."""
    if adapter is None or adapter.bits != 8 or stream == "attention out":
        return 0
    return formats.compute * width


def _full_input(stream: Stream, linears: list[Linear], formats: Formats, width: int) -> float:
    """A trained layer keeps its input; under autocast each one its own copy."""
    if stream == "attention out":
        return 0  # attention keeps its result already
    casts = formats.hidden != formats.compute and stream.endswith(" in")
    copies = len(linears) if casts and stream != "feed-forward out" else 1
    return formats.compute * width * copies


def _adapted_input(
    stream: Stream,
    linears: list[Linear],
    formats: Formats,
    traits: EngineTraits,
    adapter: AdapterOn,
    width: int,
) -> float:
    b = formats.compute
    inner = 0 if traits.labelled_only else sum(b * adapter.rank for _ in linears)
    if adapter.magnitude:
        inner += b * _magnitude_outputs(linears, traits, adapter)
    if adapter.mask_bytes:
        # Each layer draws its own: the dropped input, and what was dropped.
        inner += len(linears) * width * (b + adapter.mask_bytes)
        inner += _kept_by_base(stream, formats, adapter, width)
        # Fused products keep the input beside them where the base is not packed.
        beside = traits.fused_norms and adapter.bits is None and stream == "attention in"
        return inner + (b * width if beside else 0)
    if traits.shares_adapter_inputs:
        return inner + (0 if stream == "attention out" else b * width)
    return inner + len(linears) * b * width


def _magnitude_outputs(linears: list[Linear], traits: EngineTraits, adapter: AdapterOn) -> int:
    """Numbers that DoRA keeps of what its layers say, for the gradient of the magnitude."""
    if not traits.labelled_only or adapter.mask_bytes:
        # PEFT keeps W x, B A x and their scaled sum; so does our way with dropout.
        return 3 * sum(linear.outputs for linear in linears)
    # Ours keeps the product alone, which is often what the next operation keeps as well.
    return sum(item.outputs for item in linears if item.bias or item.name not in _KEPT_ANYWAY)
