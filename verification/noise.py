"""NEFTune's noise beside transformers' own hook, and beside the uniform distribution.

Shapes: `L` tokens of an example, `D` model width.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import scipy.stats
import torch
from torch import Tensor
from transformers.integrations.neftune import neftune_post_forward_hook

from luthier.data.batches import TokenizedExample, pack
from luthier.models.neftune import NeftuneNoise, draw_noise
from luthier.models.packed import PackedModel
from luthier.objectives.objective import LossShare, StepTotals
from luthier.train.module import TrainedModule
from verification.check import largest, relative_error
from verification.models import build_model

ALPHA = 5.0
LENGTHS = (3, 40, 7)
LARGE_LENGTHS, WIDTH = (2000, 6000), 1024


def compare_packed_row() -> float:
    """The noise on a packed row in training, against transformers' hook on each example alone.

    Both draw the same uniform numbers, one example after the other; what is compared is their size.
    """
    model = build_model("llama")
    embeddings = model.get_input_embeddings()
    noise = NeftuneNoise(model, ALPHA)
    seen: list[Tensor] = []
    embeddings.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    generator = np.random.default_rng(0)
    examples = [
        TokenizedExample(str(n), generator.integers(3, 290, n).astype(np.int32), np.ones(n, bool))
        for n in LENGTHS
    ]
    batch = pack(examples)
    packed = PackedModel(model)

    def read_labels(model: PackedModel, batch: object, _totals: StepTotals) -> LossShare:
        model.hidden_states(batch)  # type: ignore[arg-type]
        return LossShare(torch.zeros(()), {})

    module = TrainedModule(packed, read_labels, noise).train()
    seen.clear()
    torch.manual_seed(0)
    with torch.no_grad():
        module(batch, StepTotals(1, 1))
    plain_1TD = embeddings.weight.detach()[batch.input_ids]
    hooked = SimpleNamespace(training=True, neftune_noise_alpha=ALPHA)
    torch.manual_seed(0)
    silence = [torch.zeros(1, n, plain_1TD.shape[2]) for n in LENGTHS]
    expected = [neftune_post_forward_hook(hooked, None, part) for part in silence]
    found = (seen[0] - plain_1TD).split(LENGTHS, 1)
    return largest(map(relative_error, found, [part.double() for part in expected]))


def compare_bounds() -> float:
    """The largest noise of a large draw against the bound α/√(L·D), for each of two examples."""
    return largest(abs(float(part.abs().max()) / bound - 1) for part, bound in draw_parts())


def compare_moments() -> float:
    """Mean (as a share of the bound) and variance of the same draw against the uniform's."""
    differences: list[float] = []
    for part, bound in draw_parts():
        differences.append(abs(float(part.mean())) / bound)
        differences.append(abs(float(part.var()) / (bound**2 / 3) - 1))
    return largest(differences)


def compare_distribution() -> float:
    """The largest gap between the draw's distribution function and the uniform's (Kolmogorov)."""
    return largest(
        float(scipy.stats.kstest(part[:500_000].numpy() / bound, UNIFORM.cdf).statistic)
        for part, bound in draw_parts()
    )


UNIFORM = scipy.stats.uniform(-1, 2)


def draw_parts() -> list[tuple[Tensor, float]]:
    """The noise of each example of one row, flat and in float64, and its bound by the paper."""
    torch.manual_seed(0)
    row = torch.zeros(1, sum(LARGE_LENGTHS), WIDTH)
    parts = draw_noise(LARGE_LENGTHS, row, ALPHA)[0].split(LARGE_LENGTHS)
    bounds = [ALPHA / math.sqrt(length * WIDTH) for length in LARGE_LENGTHS]
    return [(part.flatten().double(), b) for part, b in zip(parts, bounds, strict=True)]
