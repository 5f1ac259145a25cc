"""Pre-train the embedded base model; killed and started again, it goes on.

    python scripts/pretrain_embedded.py --data ../shared/data --minutes 80
    python scripts/pretrain_embedded.py --run long --minutes 7                # on a GPU
    python scripts/pretrain_embedded.py --corpus corpus.npz --only-corpus \
        --tokenizer src/luthier/models/embedded      # one file, for a machine without the data
    python scripts/pretrain_embedded.py --corpus corpus.npz --run long --minutes 7

Takes a GPU where there is one. The learning rate follows the budget, `--minutes` or `--steps`, so
that the training always ends annealed; minutes already spent count. The model comes to lie in
runs/embedded. Only `--output src/luthier/models/embedded` writes it into the package.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from embedded_tokens import (
    Corpus,
    add_fresh_text,
    generate_texts,
    load_corpus,
    read_texts,
    read_tokenizer,
    save_corpus,
    tokenize,
    train_tokenizer,
)

from luthier.errors import DataError, LuthierError

if TYPE_CHECKING:
    from embedded_runs import Settings

# How much generated text a training takes, in corpora as they are read.
GENERATED_TIMES = {"short": 1, "long": 8}
TINY_DOCUMENTS = 400


def main() -> int:
    options = parse_options()
    try:
        corpus = prepare_corpus(options)
        if not options.only_corpus:
            train(corpus, options)
    except LuthierError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    text = parser.add_argument_group("text")
    text.add_argument("--data", type=Path, default=Path("../shared/data"))
    text.add_argument("--generated", action="store_true", help="only the sources without data")
    text.add_argument("--tokenizer", type=Path, help="keep the tokenizer of this model folder")
    text.add_argument("--corpus", type=Path, help="tokens: read from this .npz, or written there")
    text.add_argument("--only-corpus", action="store_true", help="write --corpus and stop")
    text.add_argument("--corpus-mib", type=float, default=60.0, help="the file's size at most")
    text.add_argument("--times", type=int, help="how much generated text, in corpora")
    run = parser.add_argument_group("training")
    budget = run.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=80.0)
    budget.add_argument("--steps", type=int)
    run.add_argument("--run", choices=("short", "long"), default="short", help="see RUNS")
    run.add_argument("--rows", type=int, help="sequences of 512 tokens a step")
    run.add_argument("--learning-rate", type=float)
    run.add_argument("--start", type=Path, help="go on from the weights in this folder")
    run.add_argument("--seed", type=int, help="of the order of the data")
    run.add_argument("--compile", choices=("auto", "on", "off"), default="auto")
    run.add_argument("--tiny", action="store_true", help="a toy, in seconds, to try the loop")
    run.add_argument("--checkpoint", type=Path, default=Path("runs/embedded-checkpoint"))
    run.add_argument("--checkpoint-seconds", type=float, default=30.0)
    run.add_argument("--output", type=Path, default=Path("runs/embedded"))
    options = parser.parse_args()
    if options.only_corpus and not options.corpus:
        parser.error("--only-corpus needs --corpus FILE.npz")
    return options


def prepare_corpus(options: argparse.Namespace) -> Corpus:
    """Read the stored corpus, or make one and store it where that is asked for."""
    if options.corpus and options.corpus.exists():
        corpus = load_corpus(options.corpus)
        if options.tokenizer and read_tokenizer(options.tokenizer) != corpus.tokenizer:
            raise DataError(
                f"{options.corpus} was not made with the tokenizer in {options.tokenizer}. Leave "
                "--tokenizer out, or name another --corpus to be made with it."
            )
    else:
        if options.tiny:
            texts = generate_texts(TINY_DOCUMENTS)
        else:
            texts = generate_texts() if options.generated else read_texts(options.data)
        kept = read_tokenizer(options.tokenizer) if options.tokenizer else None
        corpus = tokenize(kept or train_tokenizer(texts, 512 if options.tiny else 8192), texts)
        if options.corpus:
            share = save_corpus(corpus, options.corpus, int(options.corpus_mib * 2**20))
            size = options.corpus.stat().st_size
            print(f"{options.corpus}: {size:,} bytes, {share:.0%} of the generated text")
    return corpus


def choose_settings(options: argparse.Namespace) -> Settings:
    from embedded_runs import RUNS

    changes = {
        "rows": options.rows,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        **({"sequence_tokens": 32, "validate_every": 10} if options.tiny else {}),
    }
    given = {key: value for key, value in changes.items() if value is not None}
    return dataclasses.replace(RUNS[options.run], **given)


def train(corpus: Corpus, options: argparse.Namespace) -> None:
    # Not above: the processes that write fresh text read this file too, and need none of it.
    from embedded_model import EMBEDDED, TINY, build_model, load_model, save_model
    from embedded_runs import Budget
    from embedded_training import Pretraining, describe_training

    times = options.times or GENERATED_TIMES[options.run]
    corpus = add_fresh_text(corpus, times)
    if options.start:
        model = load_model(options.start)
    else:
        model = build_model(corpus.tokenizer, TINY if options.tiny else EMBEDDED)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    training = Pretraining(
        model,
        corpus,
        choose_settings(options),
        options.checkpoint,
        checkpoint_seconds=options.checkpoint_seconds,
    )
    training.resume()
    print(training.warm_up(options.compile), flush=True)
    steps = options.steps
    outcome = training.run(Budget(steps, None if steps else 60 * options.minutes))
    record = describe_training(outcome, training.device)
    save_model(model.config, outcome.best.weights, corpus.tokenizer, record, options.output)
    print(f"{options.output}: the weights of step {outcome.best.step}")


if __name__ == "__main__":
    sys.exit(main())
