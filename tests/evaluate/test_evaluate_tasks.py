"""Classification and perplexity, against figures worked out by hand or by transformers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import build_model

from luthier.data.examples import Example, Message
from luthier.errors import DataError
from luthier.evaluate.model import EvaluatedModel
from luthier.evaluate.run import evaluate_model
from luthier.evaluate.task import TaskOptions
from luthier.evaluate.tasks.classification import compute_f1, score_labels, summarise_labels
from luthier.evaluate.tasks.perplexity import PERPLEXITY, score_texts, summarise_texts
from luthier.files import read_json_lines


@pytest.fixture(scope="module")
def model(chat_tokenizer: Any) -> EvaluatedModel:
    return EvaluatedModel(build_model("qwen2", dtype=torch.float32), chat_tokenizer)


def classified(label: str, predicted: str) -> dict[str, Any]:
    chances = dict.fromkeys(("cat", "dog", "owl", "yak"), -1.0)
    return {"label": label, "predicted": predicted, "log_likelihoods": chances}


def test_macro_f1_and_confusion_matrix_of_six_animals() -> None:
    """cat: 2 hits, 1 taken for a dog. dog: 1 hit, 1 taken for an owl. owl: 1 missed. yak: none."""
    pairs = ["cat cat", "cat cat", "cat dog", "dog dog", "dog owl", "owl cat"]
    summary = summarise_labels(iter(classified(*pair.split()) for pair in pairs))
    assert summary.details["labels"] == ["cat", "dog", "owl", "yak"]
    assert summary.details["confusion_matrix"] == [
        [2, 1, 0, 0],
        [0, 1, 1, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    expected = {"f1_cat": 4 / 6, "f1_dog": 2 / 4, "f1_owl": 0.0, "f1_yak": 0.0}
    expected["macro_f1"] = (4 / 6 + 2 / 4) / 3  # yak neither occurs nor is predicted
    assert summary.metrics == pytest.approx(expected)


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    matrix = np.random.default_rng(0).integers(1, 30, (5, 5))
    hits = np.diag(matrix)
    precision, recall = hits / matrix.sum(0), hits / matrix.sum(1)
    expected = 2 * precision * recall / (precision + recall)
    np.testing.assert_allclose(compute_f1(matrix), expected)


def labelled(count: int) -> list[Example]:
    return [
        Example(
            f"n{number}",
            (Message("user", "odd? " + "x" * (number % 5), False), Message("assistant", "a", True)),
            label=("a", "bcd")[number % 2],
            labels=("a", "bcd"),
        )
        for number in range(count)
    ]


def test_the_batch_size_changes_no_likelihood(model: EvaluatedModel) -> None:
    alone, together = (
        {one.id: one for one in score_labels(model, labelled(7), TaskOptions(0, size))}
        for size in (1, 7)
    )
    assert alone.keys() == together.keys()
    for id_, one in alone.items():
        chances = one.details["log_likelihoods"]
        assert together[id_].details["log_likelihoods"] == pytest.approx(chances, abs=2e-4)
        assert one.details["predicted"] == max(chances, key=chances.get)
        assert one.scores["accuracy"] == float(one.details["predicted"] == one.details["label"])


@torch.no_grad()
def loss_of(model: EvaluatedModel, ids: list[int]) -> float:
    """transformers' own mean loss of a text."""
    row = torch.tensor([ids])
    return float(model.causal(row, labels=row, use_cache=False).loss)


def texts(*contents: str) -> list[Example]:
    return [Example(f"t{n}", (), text=text) for n, text in enumerate(contents)]


def test_perplexity_is_that_of_transformers_on_each_text_alone(model: EvaluatedModel) -> None:
    examples = texts("To be, or not to be", "that is the question:", "é" * 9)
    found = list(score_texts(model, examples, TaskOptions(0, 32)))
    losses, counts = [], []
    for example, one in zip(examples, found, strict=True):
        ids = [*model.tokenizer(example.text)["input_ids"], model.tokenizer.eos_token_id]
        losses.append(loss_of(model, ids))
        counts.append(len(ids) - 1)
        assert one.scores["nats_per_token"] == pytest.approx(losses[-1], rel=2e-5)
        assert one.details["tokens"] == counts[-1]
    # One token a byte, the first byte not scored, the stop token scored but no text.
    assert [one.details["bytes"] for one in found] == [
        len(examples[0].text or "") - 1,
        len(examples[1].text or "") - 1,
        found[2].details["bytes"],
    ]
    rows = ({"scores": one.scores, **one.details} for one in found)
    summary = summarise_texts(rows).metrics
    nats = float(np.dot(losses, counts))
    assert summary["perplexity"] == pytest.approx(math.exp(nats / sum(counts)), rel=1e-4)
    size = sum(one.details["bytes"] for one in found)
    assert summary["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-4)


def test_a_long_text_is_cut_so_that_every_token_but_the_first_counts_once(
    model: EvaluatedModel,
) -> None:
    """600 bytes and a stop token; pieces of 256 tokens overlap by one."""
    (text,) = texts("abcdefghij" * 60)
    found = list(score_texts(model, [text], TaskOptions(0, 32)))
    assert [one.id for one in found] == ["t0/1", "t0/2", "t0/3"]
    assert {one.details["source"] for one in found} == {"t0"}
    assert [one.details["tokens"] for one in found] == [255, 255, 90]
    assert sum(one.details["bytes"] for one in found) == 599
    ids = [*model.tokenizer(text.text)["input_ids"], model.tokenizer.eos_token_id]
    for one, start in zip(found, (0, 255, 510), strict=True):
        expected = loss_of(model, ids[start : start + 256])
        assert one.scores["nats_per_token"] == pytest.approx(expected, rel=2e-5)


def test_of_a_conversation_the_answers_and_their_stop_tokens_are_scored(
    model: EvaluatedModel,
) -> None:
    turns = (Message("user", "one?", False), Message("assistant", "two", True))
    (one,) = score_texts(model, [Example("c", turns)], TaskOptions(0, 8))
    assert (one.details["tokens"], one.details["bytes"]) == (len("two") + 1, 3)


def test_texts_without_a_token_to_score_are_refused(model: EvaluatedModel) -> None:
    with pytest.raises(DataError, match="no text to score"):
        PERPLEXITY.check([Example("empty", (), text="")])
    asked = Example("asked", (Message("user", "one?", False),), where="chat.jsonl:3")
    with pytest.raises(DataError, match=r"chat\.jsonl:3: not one token to score"):
        list(score_texts(model, [asked], TaskOptions(0, 8)))


def test_perplexity_leaves_the_model_able_to_generate(
    model: EvaluatedModel, tmp_path: Path
) -> None:
    """Packed rows need another attention, which knows no cache and no padding."""
    before = [one.details for one in score_labels(model, labelled(5), TaskOptions(0, 5))]
    evaluate_model(model, "perplexity", texts("one", "two"), tmp_path)
    after = [one.details for one in score_labels(model, labelled(5), TaskOptions(0, 5))]
    assert after == before
    ids = {row["id"] for row in read_json_lines(tmp_path / "perplexity.jsonl")}
    assert ids == {"t0", "t1"}
