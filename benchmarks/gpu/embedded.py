"""Part 5: pre-train the embedded model on more tokens than a processor sees in a week.

    python -m benchmarks.gpu embedded --output docs/results/gpu
    LUTHIER_CORPUS=corpus.npz python -m benchmarks.gpu embedded      # where the data is not

Cells: `before` (the shipped weights' validation loss by source), `training`, `after` (the new
weights' loss, and whether it is lower). A start that runs out of time leaves its checkpoint in
`embedded-checkpoint/` beside the JSON, and the next goes on from it; the new weights come to lie
in `embedded-model/`, a model folder like the one in the package. Nothing in the package changes.

The time is this part's, less what is done around the training: on one H100 about a minute to write
and tokenise fresh text on its cores and another to compile, which leaves 5 minutes. At 3 million
tokens a second they are 0.9 billion tokens in 14,000 steps, 70 times what the shipped weights saw.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from benchmarks.gpu.record import Record, Size, TimeIsUp

from luthier.models.load import locate_model

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "scripts"))

if TYPE_CHECKING:
    from embedded_tokens import Corpus
    from embedded_training import Outcome, Pretraining

DATA = CHECKOUT.parent / "shared" / "data"
CORPUS_VARIABLE = "LUTHIER_CORPUS"
TIMES_GENERATED = 8  # as much generated text as in the corpus: none of it is learnt by heart
SMALL_DOCUMENTS = 400
SMALL_STEPS = 6
# Left for the new weights' validation and for writing them.
RESERVE_SECONDS: dict[Size, float] = {"full": 20.0, "small": 1.0}


class Text(NamedTuple):
    corpus: Corpus
    origin: str


def run(record: Record) -> None:
    if record.has("after"):
        return
    text = find_text(record.size)
    with record.cell("before", seconds=5) as cell:
        cell |= {
            "corpus": text.origin,
            "validation_loss": validate(Path(locate_model("embedded")), text),
        }
    with record.cell("training", seconds=RESERVE_SECONDS[record.size] + 1) as cell:
        training, outcome = train(text, record, cell)
    if "failed" in record.cells["training"]:
        return
    if not outcome.finished:
        raise TimeIsUp(f"{cell['minutes']} minutes of training are kept in a checkpoint")
    with record.cell("after", seconds=0) as cell:
        output = record.path.parent / "embedded-model"
        save(training, outcome, text, output)
        cell |= compare(record.cells["before"]["validation_loss"], validate(output, text))
        cell["bytes"] = (output / "model.safetensors").stat().st_size


def find_text(size: Size) -> Text:
    """The corpus of LUTHIER_CORPUS, else of the data folder, else what needs no data.

    All with the shipped tokenizer: a loss per token is compared with the shipped weights'.
    """
    from embedded_tokens import generate_texts, load_corpus, read_texts, read_tokenizer, tokenize

    from luthier.errors import DataError

    kept = read_tokenizer(Path(locate_model("embedded")))
    named = os.environ.get(CORPUS_VARIABLE)
    if size == "small":
        texts = generate_texts(SMALL_DOCUMENTS)
        return Text(tokenize(kept, texts), f"{SMALL_DOCUMENTS} generated documents a source")
    if named:
        corpus = load_corpus(Path(named))
        if corpus.tokenizer != kept:
            raise DataError(f"{named} was made with another tokenizer. Make it with --tokenizer.")
        return Text(corpus, f"{CORPUS_VARIABLE}={named}")
    if DATA.is_dir():
        return Text(tokenize(kept, read_texts(DATA)), "the data folder")
    origin = f"only the generated sources: no {CORPUS_VARIABLE} is named and no data folder is here"
    print(f"  {origin}", flush=True)
    return Text(tokenize(kept, generate_texts()), origin)


def validate(folder: Path, text: Text) -> dict[str, float]:
    """A saved model's loss by source, in nats per token."""
    from embedded_model import compute_validation_loss, load_model

    model = load_model(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    return compute_validation_loss(model, text.corpus.validation)


def train(text: Text, record: Record, cell: dict[str, Any]) -> tuple[Pretraining, Outcome]:
    """Train for the time that is left, from the checkpoint where there is one."""
    from embedded_model import build_model
    from embedded_runs import RUNS, Budget, Settings
    from embedded_tokens import add_fresh_text
    from embedded_training import Pretraining

    small = record.size == "small"
    started = time.monotonic()
    corpus = text.corpus if small else add_fresh_text(text.corpus, TIMES_GENERATED)
    cell["fresh_text_seconds"] = round(time.monotonic() - started, 1)
    settings = Settings(rows=2, mixture="long", validate_every=3) if small else RUNS["long"]
    folder = record.path.parent / "embedded-checkpoint"
    training = Pretraining(build_model(corpus.tokenizer), corpus, settings, folder)
    cell["went_on"] = training.resume()
    cell["damaged_checkpoints"] = training.damaged
    cell["kernels"] = training.warm_up()
    left = record.seconds_left() - RESERVE_SECONDS[record.size]
    # The length is settled by the first start; a later one spends what is left of it.
    budget = training.budget or (Budget(steps=SMALL_STEPS) if small else Budget(seconds=left))
    outcome = training.run(budget, stop_seconds=left)
    cell |= describe(outcome, training)
    return training, outcome


def describe(outcome: Outcome, training: Pretraining) -> dict[str, Any]:
    cuda = training.device.type == "cuda"
    thinning = max(1, len(training.history) // 10)
    return {
        "finished": outcome.finished,
        "minutes": round(outcome.seconds / 60, 2),
        "steps": outcome.steps,
        "tokens": outcome.tokens,
        "tokens_per_second": round(outcome.tokens_per_second),
        "peak_memory_mib": round(torch.cuda.max_memory_allocated() / 2**20) if cuda else None,
        "passes_over_source": outcome.passes,
        "kept_step": outcome.best.step,
        "validation_loss_at": {
            each["step"]: {name: round(loss, 3) for name, loss in each["losses"].items()}
            for each in training.history[::thinning]
        },
    }


def save(training: Pretraining, outcome: Outcome, text: Text, output: Path) -> None:
    from embedded_model import save_model
    from embedded_training import describe_training

    facts = describe_training(outcome, training.device)
    save_model(training.model.config, outcome.best.weights, text.corpus.tokenizer, facts, output)


def compare(before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    return {
        "validation_loss": after,
        "lower_by": {name: round(before[name] - loss, 4) for name, loss in after.items()},
        "lower_on_every_source": all(loss < before[name] for name, loss in after.items()),
    }
