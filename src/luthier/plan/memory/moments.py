"""The moments of a step at which memory may be fullest, each with all that is held then."""

from __future__ import annotations

from typing import NamedTuple

from luthier.plan.memory.layer import LayerBytes
from luthier.plan.memory.optimizer import OptimizerBytes
from luthier.plan.memory.shares import Shares
from luthier.plan.memory.weights import WeightBytes


class Held(NamedTuple):
    """Bytes on one device at one moment.

    Attributes:
        moment: which one, in a few words.
        weights, gradients, optimizer, adapter, activations, logits, overhead: bytes.
    """

    moment: str
    weights: float
    gradients: float
    optimizer: float
    adapter: float
    activations: float = 0.0
    logits: float = 0.0
    overhead: float = 0.0

    @property
    def total(self) -> float:
        return sum(self[1:])


class Ingredients(NamedTuple):
    """What the moments are put together from; bytes of the whole run, before sharing.

    Attributes:
        weights: of the base as it is held.
        gathered: the same weights where they are gathered for use, in the products' precision.
        copies: casts of the weights that autocast keeps over a forward pass.
        copied_layer: that of one layer.
        reference: a frozen model beside the trained one.
        adapter: the adapter's weights.
        gradients: of all that is trained, once the backward pass is over.
        first_gradients: those of them that are there when the backward pass has reached the last
            layer: the head's.
        last_gradients: those that are not there yet when it has reached the first one.
        gathered_gradients: of one layer, whole, where gradients are sharded.
        optimizer: its state and temporaries.
        layer: what one layer keeps, a token.
        logits: at the end of the forward pass.
        input_bytes: of a layer's input, a token.
        layers: how many transformer layers there are.
        tokens: of the micro-batch.
        unlabelled: tokens that the feed-forward half of the last layer does not see.
        checkpoints: whether layers are worked out anew in the backward pass.
        accumulates: whether gradients of earlier micro-batches are there.
        trains_base: whether the base's own weights are trained.
        trained: weights that are trained.
        overhead: the library's workspaces, or a whole process.
    """

    weights: WeightBytes
    gathered: WeightBytes
    copies: float
    copied_layer: float
    reference: float
    adapter: float
    gradients: float
    first_gradients: float
    last_gradients: float
    gathered_gradients: float
    optimizer: OptimizerBytes
    layer: LayerBytes
    logits: float
    input_bytes: float
    layers: int
    tokens: float
    unlabelled: float
    checkpoints: bool
    accumulates: bool
    trains_base: bool
    trained: int
    overhead: float


def list_moments(run: Ingredients, shares: Shares) -> list[Held]:
    """All moments worth comparing; the fullest is the peak."""
    moments = [_end_of_forward(run, shares), _last_layer_back(run, shares), _step(run, shares)]
    return [*moments, _first_layer_back(run, shares)]


def find_peak(run: Ingredients, shares: Shares) -> Held:
    """The fullest moment."""
    return max(list_moments(run, shares), key=lambda held: held.total)


def most_transient(run: Ingredients, shares: Shares) -> float:
    """Bytes of activations and logits where there are the most: they need not be the peak."""
    return max(held.activations + held.logits for held in list_moments(run, shares))


def _resident(
    run: Ingredients, shares: Shares, moment: str, gradients: float, copies: float = 0.0
) -> Held:
    weights = run.weights.total / shares.weights + run.reference / shares.weights + copies
    if shares.gathered_layers:
        weights += run.gathered.root
        weights += shares.gathered_layers * run.gathered.layers / run.layers
    return Held(
        moment,
        weights,
        gradients,
        run.optimizer.state / shares.optimizer,
        run.adapter / shares.adapter,
        overhead=run.overhead,
    )


def _stored(run: Ingredients) -> float:
    """What all layers keep when the forward pass is over."""
    if run.checkpoints:
        return run.layers * run.input_bytes * run.tokens
    return run.layers * run.layer.kept * run.tokens - run.layer.half * run.unlabelled


def _working(run: Ingredients) -> float:
    """What the backward pass of one layer needs on top of what is stored."""
    if not run.checkpoints:
        return run.layer.backward * run.tokens
    return (run.layer.kept - run.layer.own_input + run.layer.backward) * run.tokens


def _end_of_forward(run: Ingredients, shares: Shares) -> Held:
    earlier = _all_gradients(run, shares) if run.accumulates else 0.0
    held = _resident(run, shares, "the logits", earlier, run.copies)
    return held._replace(activations=_stored(run), logits=run.logits)


def _last_layer_back(run: Ingredients, shares: Shares) -> Held:
    """The first layer that the backward pass reaches: all others' activations are still there."""
    arrived = run.first_gradients + run.gathered_gradients * (shares.gathered_layers > 0)
    if run.accumulates:
        arrived += _all_gradients(run, shares)
    copies = run.copied_layer if run.checkpoints else run.copies
    held = _resident(run, shares, "the last layer's backward pass", arrived, copies)
    return held._replace(activations=_stored(run) + _working(run))


def _first_layer_back(run: Ingredients, shares: Shares) -> Held:
    """The last layer that the backward pass reaches: nearly all gradients are there."""
    gradients = _all_gradients(run, shares) + run.gathered_gradients * (shares.gathered_layers > 0)
    if not run.accumulates:
        gradients -= run.last_gradients / shares.gradients
    held = _resident(run, shares, "the first layer's backward pass", gradients, run.copied_layer)
    kept = run.layer.kept * run.tokens if not run.checkpoints else run.input_bytes * run.tokens
    if shares.keeps_inputs and not run.trains_base:
        # The hook that frees a frozen unit waits for the gradient of its input, and holds both
        # until the whole backward pass is over; the last ones are in the layer's own count.
        kept += 2 * (run.layers - 1) * run.input_bytes * run.tokens - run.input_bytes * run.tokens
    return held._replace(activations=kept + _working(run))


def _step(run: Ingredients, shares: Shares) -> Held:
    held = _resident(run, shares, "the optimizer's step", _all_gradients(run, shares))
    if shares.gathered_layers:
        weights = (run.weights.total + run.reference) / shares.weights
        held = held._replace(weights=weights)
    at_once = min(1.0, shares.stepped * shares.optimizer / run.trained)
    temporary = at_once * run.optimizer.temporary / shares.optimizer
    return held._replace(optimizer=held.optimizer + temporary)


def _all_gradients(run: Ingredients, shares: Shares) -> float:
    return run.gradients / shares.gradients + shares.buckets * run.gradients
