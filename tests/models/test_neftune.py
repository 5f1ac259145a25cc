"""NEFTune's noise: its magnitude by each example's own length, off in evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_models import build_model
from torch import Tensor

from luthier.data.batches import TokenizedExample, pack
from luthier.models.neftune import NeftuneNoise, draw_noise
from luthier.models.packed import PackedModel
from luthier.objectives.objective import StepTotals
from luthier.objectives.sft import compute_sft_loss, sum_sft_loss
from luthier.train.module import TrainedModule

ALPHA, WIDTH = 5.0, 64


def test_each_example_of_a_packed_row_is_bounded_by_its_own_length() -> None:
    lengths = (3, 50)
    noise = draw_noise(lengths, torch.zeros(1, 53, WIDTH), ALPHA)[0]
    for part, length in zip(noise.split(lengths), lengths, strict=True):
        bound = ALPHA / math.sqrt(length * WIDTH)
        assert float(part.abs().max()) <= bound
        assert float(part.abs().max()) > 0.9 * bound


def test_the_variance_is_that_of_the_uniform_distribution_per_example() -> None:
    torch.manual_seed(0)
    lengths = (20, 500)
    noise = draw_noise(lengths, torch.zeros(1, 520, 256), ALPHA)[0]
    for part, length in zip(noise.split(lengths), lengths, strict=True):
        bound = ALPHA / math.sqrt(length * 256)
        assert float(part.var()) == pytest.approx(bound**2 / 3, rel=0.05)
        assert float(part.mean()) == pytest.approx(0.0, abs=0.05 * bound)


def test_the_expected_norm_of_the_noise_is_alpha_over_root_three_whatever_the_length() -> None:
    # Jain et al. 2023, section 2: that is what the scale alpha/sqrt(L d) is chosen for.
    torch.manual_seed(0)
    for length in (10, 400):
        noise = draw_noise((length,), torch.zeros(1, length, 256), ALPHA)
        assert float(noise.norm()) == pytest.approx(ALPHA / math.sqrt(3), rel=0.05)


def test_noise_reaches_the_embeddings_in_training_and_not_in_evaluation() -> None:
    model = build_model("qwen2")
    noise = NeftuneNoise(model, ALPHA)
    noise.lengths = (4,)
    embeddings = model.get_input_embeddings()
    ids = torch.arange(3, 7)[None]
    plain: Tensor = embeddings.weight[ids]
    model.eval()
    assert torch.equal(embeddings(ids), plain)
    model.train()
    difference = (embeddings(ids) - plain).abs().detach()
    assert float(difference.min()) > 0
    assert float(difference.max()) <= ALPHA / math.sqrt(4 * 32)


def test_training_draws_anew_and_the_seed_decides() -> None:
    model = build_model("qwen2")
    packed = PackedModel(model)
    module = TrainedModule(packed, compute_sft_loss, NeftuneNoise(model, ALPHA))
    ids = np.arange(3, 9, dtype=np.int32)
    batch = pack([TokenizedExample("x", ids, np.ones(6, dtype=bool))] * 2)
    with torch.no_grad():
        module.train()
        torch.manual_seed(1)
        one = StepTotals(supervised_tokens=1, examples=1)
        first, second = float(module(batch, one).loss), float(module(batch, one).loss)
        torch.manual_seed(1)
        again = float(module(batch, one).loss)
        module.eval()
        quiet = float(module(batch, one).loss)
    assert first == again
    assert first != second
    assert quiet == pytest.approx(float(sum_sft_loss(packed, batch).detach()))
