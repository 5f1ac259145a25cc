"""Preference objectives against TRL's own, in float64: loss, gradients and figures."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import pytest
import torch
from tiny_models import relative_error
from verification.objectives import (
    PAIRS,
    choose_settings,
    compare_smoothed_dpo,
    compare_with_trl,
    reference_S2,
    run_ours,
    run_trl,
)
from verification.pairs import build_exact_model, plain_log_probs, plain_sums

from luthier.data.pair_batches import ScoredPair, pack_pairs
from luthier.models.packed import PackedModel
from luthier.objectives import OBJECTIVES
from luthier.objectives.dpo import compute_dpo_losses
from luthier.objectives.ipo import compute_ipo_losses
from luthier.objectives.objective import count_totals
from luthier.objectives.settings import ObjectiveSettings


@pytest.mark.parametrize("method", ["dpo", "ipo", "simpo", "orpo"])
def test_loss_gradients_and_figures_equal_trls(method: str) -> None:
    assert compare_with_trl(method) < 1e-10


def test_the_parts_of_orpos_loss_equal_trls() -> None:
    _, _, figures = run_ours("orpo", PAIRS)
    _, _, metrics = run_trl("orpo")
    assert figures["nll"] == pytest.approx(metrics["nll_loss"], rel=1e-10)
    assert figures["odds_ratio_loss"] == pytest.approx(-metrics["log_odds_ratio"], rel=1e-10)


@pytest.mark.parametrize("method", ["dpo", "ipo", "simpo", "orpo"])
def test_two_micro_batches_make_the_step_of_one_batch(method: str) -> None:
    whole = run_ours(method, PAIRS)
    halves = run_ours(method, PAIRS, micro_batches=2)
    assert relative_error(halves[0], whole[0]) < 1e-12
    for name, expected in whole[1].items():
        if float(expected.abs().max()) > 1e-12:
            assert relative_error(halves[1][name], expected) < 1e-10, name
    assert halves[2] == pytest.approx(whole[2], rel=1e-12)


def test_smoothed_labels_equal_trls() -> None:
    assert compare_smoothed_dpo() < 1e-12


def test_half_of_the_labels_smoothed_away_prefers_nothing() -> None:
    # With ε = ½ both directions weigh the same: the loss is least where nobody leads.
    leads = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    losses = compute_dpo_losses(leads, 1.0, 0.5)
    assert losses[1] == pytest.approx(math.log(2))
    assert losses[0] == losses[2] > losses[1]


def test_dpo_costs_log_two_a_pair_before_the_model_has_moved() -> None:
    packed = PackedModel(build_exact_model("qwen2"))
    objective = OBJECTIVES["dpo"](ObjectiveSettings(reference_model=contextlib.nullcontext))
    share = objective(packed, pack_pairs(PAIRS, shared=True), count_totals(PAIRS))
    assert float(share.loss.detach()) == pytest.approx(math.log(2), rel=1e-12)
    assert float(share.figures["rewards_margin"]) == 0.0


def test_ipo_by_the_paper_sums_log_ratios_over_the_answer() -> None:
    _, _, figures = run_ours("ipo", PAIRS, ipo_log_ratio="sum")
    with torch.no_grad():
        ratios_S2 = plain_sums(build_exact_model("qwen2"), PAIRS) - reference_S2()
    expected = (ratios_S2[:, 0] - ratios_S2[:, 1] - 1 / (2 * 0.1)).square().mean()
    loss, _, _ = run_ours("ipo", PAIRS, ipo_log_ratio="sum")
    assert relative_error(loss, expected) < 1e-10
    assert figures["rewards_chosen"] == pytest.approx(0.1 * float(ratios_S2[:, 0].mean()))


def test_ipo_is_least_where_chosen_leads_by_half_the_inverse_of_beta() -> None:
    leads = torch.tensor([[5.0, 0.0], [4.9, 0.0], [5.1, 0.0]], dtype=torch.float64)
    assert compute_ipo_losses(leads, 0.1).tolist() == pytest.approx([0.0, 0.01, 0.01])


def test_orpo_by_the_answer_alone_leaves_the_prompt_out() -> None:
    loss, _, figures = run_ours("orpo", PAIRS, orpo_nll="response")
    model = build_exact_model("qwen2")
    with torch.no_grad():
        log_probs = [
            plain_log_probs(model, pair.prompt_ids, pair.chosen_ids)[len(pair.prompt_ids) - 1 :]
            for pair in PAIRS
        ]
    nll = -float(torch.cat(log_probs).mean())
    assert figures["nll"] == pytest.approx(nll, rel=1e-10)
    assert float(loss) == pytest.approx(nll + 0.1 * figures["odds_ratio_loss"], rel=1e-12)


@pytest.mark.parametrize("method", ["dpo", "ipo"])
def test_stored_reference_log_probs_give_the_step_of_the_reference_model(method: str) -> None:
    scored = [
        ScoredPair(pair, *row) for pair, row in zip(PAIRS, reference_S2().tolist(), strict=True)
    ]
    packed = PackedModel(build_exact_model("qwen2"))
    batch = pack_pairs(scored, shared=True)
    share = OBJECTIVES[method](choose_settings(method))(packed, batch, count_totals(scored))
    loss, _, _ = run_ours(method, PAIRS)
    assert relative_error(share.loss, loss) < 1e-6  # stored in float32
    assert count_totals(scored) == count_totals(PAIRS)


def test_the_reference_is_asked_without_dropout_and_training_goes_on() -> None:
    modes: list[bool] = []
    packed = PackedModel(build_exact_model("qwen2")).train()

    @contextlib.contextmanager
    def watched() -> Iterator[None]:
        modes.append(packed.causal.model.layers[0].mlp.training)
        yield

    objective = OBJECTIVES["dpo"](ObjectiveSettings(reference_model=watched))
    objective(packed, pack_pairs(PAIRS, shared=True), count_totals(PAIRS))
    assert modes == [False]
    assert packed.training
    assert packed.causal.model.layers[0].mlp.training
