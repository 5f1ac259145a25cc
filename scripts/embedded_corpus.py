"""The texts from which the embedded model learns, and their shares of its training.

| source | licence | kept as |
|---|---|---|
| wikitext2 | CC BY-SA 3.0 | articles, tokenisation marks undone |
| gutenberg | public domain | books |
| tinyshakespeare | public domain | scenes |
| Python standard library | PSF licence | module sources and the language reference's topics |
| generated conversations | ours | `embedded_tasks.py` |
"""

from __future__ import annotations

import random
import re
import sysconfig
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from embedded_tasks import SUBJECTS, generate_exchange, headline


class Source(NamedTuple):
    share: float  # of all training tokens
    read: Callable[[Path], Iterator[str]]


def read_wikitext(folder: Path) -> Iterator[str]:
    """One document an article."""
    for name in ("valid.txt", "test.txt"):
        text = (folder / "wikitext2" / name).read_text(encoding="utf-8")
        for article in re.split(r"\n(?= = [^=])", text):
            yield _undo_wikitext_marks(article)


def _undo_wikitext_marks(text: str) -> str:
    text = re.sub(r" @([-,.])@ ", r"\1", text.replace(" <unk>", ""))
    text = re.sub(r" ([,.;:!?%)\]]|'s|'t|'re|n't)", r"\1", text)
    text = re.sub(r"([(\[]) ", r"\1", text)
    text = re.sub(r'" ([^"\n]*?) "', r'"\1"', text)
    text = re.sub(r"^ (=+) (.*?) =+ *$", r"\1 \2", text, flags=re.MULTILINE)
    return re.sub(r"\n\s*\n+", "\n", text).strip()


def read_gutenberg(folder: Path) -> Iterator[str]:
    """One document per 8,000 characters or so of a book, cut at a paragraph."""
    with zipfile.ZipFile(folder / "gutenberg" / "gutenberg.zip") as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".txt"):
                yield from _pieces(archive.read(name).decode("latin-1").replace("\r\n", "\n"))


def read_shakespeare(folder: Path) -> Iterator[str]:
    yield from _pieces((folder / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8"))


def _pieces(text: str, length: int = 8000) -> Iterator[str]:
    piece: list[str] = []
    size = 0
    for paragraph in re.split(r"\n\s*\n", text):
        # Books wrap at 70 columns; the line ends inside a paragraph carry no meaning in prose.
        piece.append(paragraph.strip())
        size += len(paragraph)
        if size > length:
            yield "\n\n".join(piece)
            piece, size = [], 0
    if piece:
        yield "\n\n".join(piece)


def read_python(_folder: Path) -> Iterator[str]:
    """The standard library of the running Python: sources, and pydoc's language topics."""
    library = Path(sysconfig.get_paths()["stdlib"])
    from pydoc_data import topics

    yield from topics.topics.values()
    left_out = {"test", "tests", "idlelib", "lib2to3", "encodings", "site-packages", "pydoc_data"}
    for file in sorted(library.rglob("*.py")):
        if not left_out & set(file.relative_to(library).parts):
            yield file.read_text(encoding="utf-8", errors="ignore")


def generate_news(count: int, seed: int) -> Iterator[str]:
    """Short generated news items, some under their subject's name."""
    rng = random.Random(f"news {seed}")
    for _ in range(count):
        subject = rng.choice(sorted(SUBJECTS))
        lines = [headline(rng, subject) for _ in range(rng.randint(2, 6))]
        if rng.random() < 0.5:
            lines.insert(0, subject.capitalize())
        yield "\n".join(lines)


def generate_conversations(count: int, seed: int) -> Iterator[str]:
    """ChatML text of one to three exchanges each."""
    rng = random.Random(f"conversations {seed}")
    for _ in range(count):
        exchanges = [generate_exchange(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        system = exchanges[0].system
        text = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
        for exchange in exchanges:
            text += f"<|im_start|>user\n{exchange.user}<|im_end|>\n"
            text += f"<|im_start|>assistant\n{exchange.assistant}<|im_end|>\n"
        yield text


TEXTS: dict[str, Source] = {
    "wikitext2": Source(0.20, read_wikitext),
    "gutenberg": Source(0.08, read_gutenberg),
    "python": Source(0.05, read_python),
    "tinyshakespeare": Source(0.02, read_shakespeare),
    "generated news": Source(0.22, lambda _folder: generate_news(120_000, seed=1)),
    "generated conversations": Source(
        0.46, lambda _folder: generate_conversations(160_000, seed=1)
    ),
}
