"""Pre-training of the embedded model: exact after a SIGKILL, its corpus in one file, part 5 whole.

On tiny models and tiny generated corpora; what a GPU does otherwise is told apart in part 5 itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoTokenizer

from luthier.errors import DataError, TrainingError
from luthier.models.load import locate_model

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "scripts"))

import embedded_tokens as tokens  # noqa: E402
import embedded_training as pretraining  # noqa: E402
from embedded_batches import MIXTURES, BatchPlan, DeviceBatches  # noqa: E402
from embedded_corpus import TEXTS  # noqa: E402
from embedded_model import TINY, build_model, compute_chunked_loss, compute_whole_loss  # noqa: E402
from embedded_optimizers import BatchedMuon  # noqa: E402
from embedded_runs import Budget, Settings  # noqa: E402

NEWS, CONVERSATIONS = tokens.GENERATED
STEPS = 30
TINY_RUN = Settings(rows=4, sequence_tokens=32, validate_every=10)


@pytest.fixture(scope="module")
def corpus() -> tokens.Corpus:
    texts = tokens.generate_texts(200)
    return tokens.tokenize(tokens.train_tokenizer(texts, 400), texts)


def start(corpus: tokens.Corpus, folder: Path, **changes: Any) -> pretraining.Pretraining:
    """A tiny training that writes a checkpoint after every step."""
    settings = dataclasses.replace(TINY_RUN, **changes)
    model = build_model(corpus.tokenizer, TINY)
    return pretraining.Pretraining(model, corpus, settings, folder, checkpoint_seconds=0)


def weights_of(training: pretraining.Pretraining) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in training.model.state_dict().items()}


def assert_equal_weights(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


@pytest.fixture(scope="module")
def uninterrupted(
    corpus: tokens.Corpus, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pretraining.Pretraining, pretraining.Outcome]:
    training = start(corpus, tmp_path_factory.mktemp("whole"))
    return training, training.run(Budget(steps=STEPS))


# The corpus


def test_the_kept_tokenizer_gives_the_ids_that_the_shipped_model_was_trained_on() -> None:
    shipped = Path(locate_model("embedded"))
    text = "Oslo: 0.25; naïve\n\tif x == 10:\n<|im_start|>user"
    ids = tokens.encode(tokens.read_tokenizer(shipped), [text, ""])
    end = 0  # <|endoftext|>, after each of the two documents
    assert ids.tolist() == [*AutoTokenizer.from_pretrained(shipped)(text)["input_ids"], end, end]


def test_every_hundredth_document_is_held_out(corpus: tokens.Corpus) -> None:
    documents = tokens.generate_texts(200)[NEWS]
    assert np.array_equal(
        corpus.validation[NEWS], tokens.encode(corpus.tokenizer, [documents[0], documents[100]])
    )
    rest = documents[1:100] + documents[101:]
    assert np.array_equal(corpus.training[NEWS], tokens.encode(corpus.tokenizer, rest))


def test_a_stored_corpus_is_read_back_as_it_was(corpus: tokens.Corpus, tmp_path: Path) -> None:
    file = tmp_path / "corpus.npz"
    assert tokens.save_corpus(corpus, file) == 1.0
    read = tokens.load_corpus(file)
    assert (read.tokenizer, read.documents) == (corpus.tokenizer, corpus.documents)
    for mine, theirs in ((read.training, corpus.training), (read.validation, corpus.validation)):
        assert list(mine) == list(theirs)
        assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    assert tokens.digest_corpus(read) == tokens.digest_corpus(corpus)


def test_a_stored_corpus_is_cut_to_its_limit_where_text_can_be_made_anew(
    corpus: tokens.Corpus, tmp_path: Path
) -> None:
    natural = {"wikitext2": np.arange(300, dtype=np.int16)}
    mixed = corpus._replace(
        training=natural | corpus.training,
        validation=natural | corpus.validation,
        documents={"wikitext2": 1} | corpus.documents,
    )
    file = tmp_path / "corpus.npz"
    share = tokens.save_corpus(mixed, file, limit_bytes=40_000)
    read = tokens.load_corpus(file)
    assert file.stat().st_size <= 40_000
    assert 0 < share < 1
    assert len(read.training["wikitext2"]) == 300
    assert len(read.training[NEWS]) == np.ceil(len(corpus.training[NEWS]) * share)
    assert np.array_equal(read.validation[NEWS], corpus.validation[NEWS])
    with pytest.raises(DataError, match="without generated text"):
        tokens.save_corpus(mixed, file, limit_bytes=1000)


def test_a_damaged_or_missing_corpus_is_named(corpus: tokens.Corpus, tmp_path: Path) -> None:
    file = tmp_path / "corpus.npz"
    with pytest.raises(DataError, match=r"no such file: .*corpus\.npz"):
        tokens.load_corpus(file)
    tokens.save_corpus(corpus, file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"corpus\.npz: .*damaged"):
        tokens.load_corpus(file)


def test_fresh_text_is_the_same_on_one_process_and_on_two_and_holds_nothing_out(
    corpus: tokens.Corpus,
) -> None:
    alone = tokens.add_fresh_text(corpus, 3, processes=1)
    together = tokens.add_fresh_text(corpus, 3, processes=2)
    assert tokens.digest_corpus(alone) == tokens.digest_corpus(together)
    assert alone.validation is corpus.validation
    for name, before in corpus.training.items():
        after = alone.training[name]
        assert np.array_equal(after[: len(before)], before)
        assert len(after) == pytest.approx(3 * len(before), rel=0.1)
    assert tokens.add_fresh_text(corpus, 1) is corpus


# The batches


def test_the_short_mixture_is_that_of_the_sources() -> None:
    assert MIXTURES["short"] == {name: source.share for name, source in TEXTS.items()}
    assert MIXTURES["long"].keys() == TEXTS.keys()
    assert sum(MIXTURES["long"].values()) == pytest.approx(1)


def test_a_source_is_gone_through_whole_before_any_of_it_comes_again() -> None:
    # 43 tokens are three windows of 10 + 1 with room for a shift; a quarter of the rows are theirs.
    plan = BatchPlan({"a": 1001, "b": 43}, {"a": 3, "b": 1}, rows=8, window=11, seed=5)
    rows = np.concatenate([plan.starts_of_step(step) for step in range(1000)])
    of_b = rows[rows >= 1001] - 1001
    assert len(of_b) == 8000 // 4
    for number in range(len(of_b) // 3):
        one_pass = np.sort(of_b[3 * number : 3 * number + 3])
        assert np.array_equal(np.diff(one_pass), [10, 10])
    assert (of_b + 11).max() <= 43
    assert (rows[rows < 1001] + 11).max() <= 1001
    assert plan.count_passes(1000) == {"a": round(6000 / 99, 2), "b": round(2000 / 3, 2)}


def test_a_step_draws_the_same_rows_whatever_was_drawn_before() -> None:
    training = {"a": np.arange(500, dtype=np.int16), "b": np.arange(500, 900, dtype=np.int16)}

    def draw(*steps: int) -> torch.Tensor:
        lengths = {name: len(ids) for name, ids in training.items()}
        plan = BatchPlan(lengths, {"a": 1, "b": 1}, rows=4, window=9, seed=0)
        batches = DeviceBatches(training, plan, 9, torch.device("cpu"))
        return [batches.draw(step) for step in steps][-1]

    assert torch.equal(draw(0, 63, 64, 200), draw(200))
    assert not torch.equal(draw(200), draw(201))
    assert torch.equal(draw(7)[:, 1:], draw(7)[:, :-1] + 1)  # windows of what lies end to end


def test_a_source_too_short_for_a_row_is_named() -> None:
    with pytest.raises(DataError, match="b: 20 tokens are too few for rows of 33"):
        BatchPlan({"a": 500, "b": 20}, {"a": 1, "b": 1}, rows=4, window=33, seed=0)


# The optimizer and the loss


def test_muon_in_batches_moves_weights_as_torch_does_one_by_one() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon to compare with")
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 8), (4, 8), (24, 8), (8, 24), (8, 8), (24, 8)]
    drawn = [torch.randn(shape, generator=generator) for shape in shapes]
    mine, theirs = ([torch.nn.Parameter(each.clone()) for each in drawn] for _ in range(2))
    ours = BatchedMuon(mine, lr=0.02, weight_decay=0.1)
    reference = torch.optim.Muon(
        theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", nesterov=True
    )
    for _ in range(5):
        for a, b in zip(mine, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        ours.step()
        reference.step()
    for a, b, before in zip(mine, theirs, drawn, strict=True):
        # Both iterate in bfloat16; products of a batch may round otherwise than one by one.
        assert torch.linalg.norm(a - b) < 0.01 * torch.linalg.norm(b - before)


def test_both_losses_are_the_mean_over_all_predicted_tokens(corpus: tokens.Corpus) -> None:
    model = build_model(corpus.tokenizer, TINY)
    batch = torch.from_numpy(corpus.training[NEWS][:99].astype(np.int64)).view(3, 33)
    with torch.no_grad():
        wanted = model(input_ids=batch, labels=batch).loss.item()
    for compute_loss in (compute_chunked_loss, compute_whole_loss):
        assert compute_loss(model, batch).item() == pytest.approx(wanted, rel=2e-3)


def test_what_a_gpu_compiles_is_one_graph_whose_attention_takes_no_mask(
    corpus: tokens.Corpus,
) -> None:
    attentions: list[dict[str, Any]] = []

    def look(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        product = functional.scaled_dot_product_attention
        attentions.extend(node.kwargs for node in graph.graph.nodes if node.target is product)
        return graph

    model = build_model(corpus.tokenizer, TINY)
    compiled = torch.compile(compute_whole_loss, backend=look, fullgraph=True, dynamic=False)
    compiled(model, torch.zeros(2, 33, dtype=torch.long)).backward()
    assert len(attentions) == TINY.layers
    assert all(each["attn_mask"] is None and each["is_causal"] for each in attentions)


# The loop


def test_the_loss_falls_and_the_lowest_mean_over_the_sources_is_kept(
    uninterrupted: tuple[pretraining.Pretraining, pretraining.Outcome],
) -> None:
    training, outcome = uninterrupted
    means = {each["step"]: np.mean(list(each["losses"].values())) for each in training.history}
    assert list(means) == [0, 10, 20, 30]
    assert means[30] < means[0] - 0.5
    assert outcome.best.step == min(means, key=lambda step: means[step])
    assert outcome.tokens == STEPS * 4 * 32
    assert outcome.finished


def test_stopped_and_resumed_it_ends_with_the_same_weights(
    corpus: tokens.Corpus,
    uninterrupted: tuple[pretraining.Pretraining, pretraining.Outcome],
    tmp_path: Path,
) -> None:
    budget = Budget(steps=STEPS)
    first = start(corpus, tmp_path)
    assert not first.resume()
    assert not first.run(budget, stop_seconds=0.0).finished
    second = start(corpus, tmp_path)
    assert second.resume()
    assert second.budget == budget
    outcome = second.run(budget)
    whole, wanted = uninterrupted
    assert_equal_weights(weights_of(second), weights_of(whole))
    assert_equal_weights(outcome.best.weights, wanted.best.weights)
    assert second.history == whole.history


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(
    corpus: tokens.Corpus,
    uninterrupted: tuple[pretraining.Pretraining, pretraining.Outcome],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start(corpus, tmp_path).run(Budget(steps=20))
    assert [place.name for place in sorted(tmp_path.iterdir())] == ["step-0000019", "step-0000020"]
    state = tmp_path / "step-0000020" / "state.pt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)

    training = start(corpus, tmp_path)
    assert training.resume()
    assert training.step == 19
    assert "step-0000020: state.pt is damaged" in capsys.readouterr().out
    assert training.damaged == ["step-0000020: state.pt is damaged (its SHA-256 is another)"]
    assert (tmp_path / "damaged-step-0000020").exists()


def test_time_that_earlier_starts_have_spent_counts(corpus: tokens.Corpus, tmp_path: Path) -> None:
    first = start(corpus, tmp_path)
    spent = first.run(Budget(seconds=1.0)).seconds
    assert spent >= 1.0
    second = start(corpus, tmp_path)
    assert second.resume()
    again = second.run(Budget(seconds=spent))
    assert again.finished
    assert again.steps == first.step


def test_a_checkpoint_of_another_corpus_or_setting_is_refused_by_name(
    corpus: tokens.Corpus, tmp_path: Path
) -> None:
    start(corpus, tmp_path).run(Budget(steps=1))
    with pytest.raises(TrainingError, match="made with rows 4, now it is 8"):
        start(corpus, tmp_path, rows=8).resume()
    longer = tokens.add_fresh_text(corpus, 2, processes=1)
    with pytest.raises(TrainingError, match="made with corpus"):
        start(longer, tmp_path).resume()


def test_the_script_killed_by_sigkill_and_started_again_writes_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = str(CHECKOUT / "scripts" / "pretrain_embedded.py")

    def arguments(name: str) -> list[str]:
        options = ["--tiny", "--steps", "40", "--checkpoint-seconds", "0"]
        places = {"corpus": "corpus.npz", "output": name, "checkpoint": f"{name}-checkpoint"}
        for key, place in places.items():
            options += [f"--{key}", str(tmp_path / place)]
        return [script, *options]

    import pretrain_embedded

    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "README.md").write_text("a card")
    monkeypatch.setattr(sys, "argv", arguments("whole"))
    assert pretrain_embedded.main() == 0

    command = [sys.executable, *arguments("killed")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step 20 "):
                os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "going on from step" in again.stdout

    whole, killed = (
        load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed")
    )
    assert_equal_weights(killed, whole)
    assert (tmp_path / "whole" / "README.md").read_text() == "a card"
    records = [
        json.loads((tmp_path / name / "training.json").read_text()) | {"minutes": 0}
        for name in ("whole", "killed")
    ]
    assert records[0] == records[1]
    assert records[0]["validation_loss_nats_per_token"].keys() == {NEWS, CONVERSATIONS}


def test_the_script_names_what_is_missing_and_what_does_not_fit(
    corpus: tokens.Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import pretrain_embedded

    def fail(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["pretrain_embedded.py", *options])
        assert pretrain_embedded.main() == 2
        return capsys.readouterr().err

    assert "Name a folder that holds wikitext2/" in fail("--data", str(tmp_path))
    stored = tmp_path / "corpus.npz"
    tokens.save_corpus(corpus, stored)
    another = fail("--corpus", str(stored), "--tokenizer", locate_model("embedded"))
    assert "was not made with the tokenizer in" in another


# Part 5


def test_the_small_part_stops_when_time_is_up_goes_on_and_leaves_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.gpu import embedded
    from benchmarks.gpu.record import Record, TimeIsUp

    run_on = pretraining.Pretraining.run
    monkeypatch.setattr(
        pretraining.Pretraining,
        "run",
        lambda self, budget, *, stop_seconds: run_on(self, budget, stop_seconds=0.0),
    )
    with pytest.raises(TimeIsUp, match="kept in a checkpoint"):
        embedded.run(Record("embedded", tmp_path, size="small", budget_seconds=300))
    assert not (tmp_path / "embedded-model").exists()

    monkeypatch.setattr(pretraining.Pretraining, "run", run_on)
    record = Record("embedded", tmp_path, size="small", budget_seconds=300)
    embedded.run(record)
    before, training, after = (record.cells[name] for name in ("before", "training", "after"))
    assert record.finish() == 0
    assert training["went_on"]
    assert training["finished"]
    assert training["steps"] == embedded.SMALL_STEPS
    # Six steps from nothing do not beat what is shipped, and it is not said that they do.
    assert not after["lower_on_every_source"]
    assert all(loss < 9.0 for loss in after["validation_loss"].values())
    assert before["validation_loss"].keys() == after["validation_loss"].keys()

    model = tmp_path / "embedded-model"
    shipped = Path(locate_model("embedded"))
    assert after["bytes"] == (model / "model.safetensors").stat().st_size <= 11 * 10**6
    assert {file.name for file in shipped.iterdir()} - {"README.md"} == {
        file.name for file in model.iterdir()
    }
    mine, theirs = (AutoTokenizer.from_pretrained(place) for place in (model, shipped))
    assert mine("Linus: 42")["input_ids"] == theirs("Linus: 42")["input_ids"]
    assert mine.chat_template == theirs.chat_template
