"""The corpus of the embedded model as tokens: made from texts, longer where generated, one file.

Free of torch, so that the processes that write and tokenise fresh text start quickly.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import multiprocessing
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from embedded_corpus import TEXTS, generate_conversations, generate_news
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from luthier.errors import DataError
from luthier.files import explained_output_errors

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY_SIZE = 8192
HELD_OUT_EVERY = 100  # one document in a hundred is for validation
FILE_LIMIT_BYTES = 60 * 2**20

# Qwen2's own pattern: every digit is a token, so that numbers can be copied and computed.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# The sources that have no end: (documents, seed) → texts.
GENERATED: dict[str, Callable[[int, int], Iterator[str]]] = {
    "generated news": generate_news,
    "generated conversations": generate_conversations,
}
PART_DOCUMENTS = 10_000  # of fresh text, written and tokenised by one process at a time
FIRST_FRESH_SEED = 1000


class Corpus(NamedTuple):
    tokenizer: str  # the text of its tokenizer.json
    documents: dict[str, int]  # source → how many it was read or generated with
    training: dict[str, np.ndarray]  # source → int16 token ids, documents end to end
    validation: dict[str, np.ndarray]


def read_texts(folder: Path) -> dict[str, list[str]]:
    """Every source, natural and generated.

    Raises:
        DataError: a natural source is not in `folder`.
    """
    try:
        return {name: list(source.read(folder)) for name, source in TEXTS.items()}
    except FileNotFoundError as error:
        raise DataError(
            f"no such file: {error.filename}. Name a folder that holds wikitext2/, gutenberg/ and "
            "tinyshakespeare/ with --data, a stored corpus with --corpus, or ask for --generated."
        ) from error


def generate_texts(documents: int | None = None) -> dict[str, list[str]]:
    """The generated sources alone; all of their documents, or the first ones."""
    if documents is None:
        return {name: list(TEXTS[name].read(Path())) for name in GENERATED}
    return {name: list(write(documents, 1)) for name, write in GENERATED.items()}


def train_tokenizer(texts: Mapping[str, list[str]], vocabulary: int = VOCABULARY_SIZE) -> str:
    """Byte-level BPE; returns the text of its tokenizer.json."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def balanced_sample(characters: int = 2_500_000) -> Iterator[str]:
        for documents in texts.values():
            used = 0
            for text in documents:
                yield text
                used += len(text)
                if used > characters:
                    break

    tokenizer.train_from_iterator(balanced_sample(), trainer)
    return tokenizer.to_str()


def read_tokenizer(folder: Path) -> str:
    """The tokenizer.json of a model folder, to be kept.

    Raises:
        DataError: there is none.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise DataError(f"no such file: {file}. --tokenizer takes the folder of a model.")
    return file.read_text(encoding="utf-8")


def tokenize(tokenizer: str, texts: Mapping[str, list[str]]) -> Corpus:
    """Every hundredth document of a source, from its first, is held out for validation."""
    training: dict[str, np.ndarray] = {}
    validation: dict[str, np.ndarray] = {}
    for name, documents in texts.items():
        kept = (text for index, text in enumerate(documents) if index % HELD_OUT_EVERY)
        training[name] = encode(tokenizer, kept)
        validation[name] = encode(tokenizer, documents[::HELD_OUT_EVERY])
        counts = f"{len(training[name]):,} training tokens, {len(validation[name]):,} held out"
        print(f"{name}: {counts}", flush=True)
    sizes = {name: len(documents) for name, documents in texts.items()}
    return Corpus(tokenizer, sizes, training, validation)


def encode(tokenizer: str, texts: Iterable[str]) -> np.ndarray:
    """Token ids, with the end of text after each document."""
    parsed = _parse(tokenizer)
    end = parsed.token_to_id(END_OF_TEXT)
    documents = list(texts)
    ids: list[int] = []
    for start in range(0, len(documents), 2000):
        for encoding in parsed.encode_batch(documents[start : start + 2000]):
            ids += [*encoding.ids, end]
    return np.array(ids, dtype=np.int16)


@functools.lru_cache(maxsize=1)
def _parse(tokenizer: str) -> Tokenizer:
    return Tokenizer.from_str(tokenizer)


def add_fresh_text(corpus: Corpus, times: int, processes: int | None = None) -> Corpus:
    """The same corpus with `times` as much generated training text as it was made with.

    Fresh text is a function of its seeds: the same call gives the same tokens, on any number of
    processes. Nothing of it is held out, so validation stays what it was.
    """
    parts = [
        (name, min(PART_DOCUMENTS, total - done), FIRST_FRESH_SEED + number)
        for name in GENERATED
        if name in corpus.training
        for total in [corpus.documents[name] * (times - 1)]
        for number, done in enumerate(range(0, total, PART_DOCUMENTS))
    ]
    if not parts:
        return corpus
    write = functools.partial(_write_part, corpus.tokenizer)
    workers = min(len(parts), processes or _count_cores())
    if workers == 1:
        fresh = [write(part) for part in parts]
    else:
        # spawn: a process that has begun to use a GPU must not be forked.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _be_single) as pool:
            fresh = list(pool.map(write, parts))
    training = dict(corpus.training)
    for name in GENERATED:
        pieces = [ids for (source, *_), ids in zip(parts, fresh, strict=True) if source == name]
        if pieces:
            training[name] = np.concatenate([training[name], *pieces])
    return corpus._replace(training=training)


def _count_cores() -> int:
    """Those that this process may use, where the system says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _be_single() -> None:
    """One process a core is enough: no threads besides."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _write_part(tokenizer: str, part: tuple[str, int, int]) -> np.ndarray:
    name, documents, seed = part
    return encode(tokenizer, GENERATED[name](documents, seed))


def save_corpus(corpus: Corpus, path: Path, limit_bytes: int = FILE_LIMIT_BYTES) -> float:
    """Write the corpus into one compressed file that holds all a machine without data needs.

    Where the file would be larger than `limit_bytes`, generated training text is left out, from
    its end: `add_fresh_text` makes more of it anywhere.

    Returns:
        The share of the generated training text that is in the file.
    """
    share = 1.0
    while len(packed := _pack(corpus, share)) > limit_bytes:
        if share < 0.01:
            raise DataError(f"{path}: {len(packed):,} bytes without generated text, too many.")
        share *= min(0.9, limit_bytes / len(packed))
    with explained_output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".staged-{path.name}")
        staged.write_bytes(packed)
        staged.replace(path)
    return share


def _pack(corpus: Corpus, share: float) -> bytes:
    buffer = io.BytesIO()
    arrays = {"tokenizer": np.frombuffer(corpus.tokenizer.encode("utf-8"), dtype=np.uint8)}
    for name, tokens in corpus.training.items():
        kept = math.ceil(len(tokens) * share) if name in GENERATED else len(tokens)
        arrays[f"training/{name}"] = tokens[:kept]
        arrays[f"validation/{name}"] = corpus.validation[name]
        arrays[f"documents/{name}"] = np.array(corpus.documents[name])
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def load_corpus(path: Path) -> Corpus:
    """Read what `save_corpus` has written.

    Raises:
        DataError: the file is missing, damaged or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:
        raise DataError(f"{path}: not a stored corpus, or a damaged one ({error}).") from error
    if "tokenizer" not in arrays:
        raise DataError(f"{path}: not a stored corpus.")
    names = [name.partition("/")[2] for name in arrays if name.startswith("training/")]
    return Corpus(
        arrays["tokenizer"].tobytes().decode("utf-8"),
        {name: int(arrays[f"documents/{name}"]) for name in names},
        {name: arrays[f"training/{name}"] for name in names},
        {name: arrays[f"validation/{name}"] for name in names},
    )


def digest_corpus(corpus: Corpus) -> str:
    """SHA-256 of the tokens, by which a checkpoint knows its corpus."""
    digest = hashlib.sha256()
    for name, tokens in corpus.training.items():
        digest.update(f"{name} {len(tokens)}\n".encode())
        digest.update(np.ascontiguousarray(tokens).data)
    return digest.hexdigest()
